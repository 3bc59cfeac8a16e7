// Short messages in the corner of the page.
import { icon } from "./icons.js";

const ICONS = { success: "check", error: "alert", warning: "alert", info: "info" };

export function toast(text, tone = "info") {
  const box = document.createElement("div");
  box.className = `toast toast-${tone}`;
  const words = Object.assign(document.createElement("div"), { className: "grow", textContent: text });
  const close = Object.assign(document.createElement("button"), {
    type: "button",
    className: "button button-quiet button-icon button-small",
    ariaLabel: "Dismiss",
  });
  close.dataset.dismiss = "";
  close.append(icon("cross"));
  box.append(icon(ICONS[tone] ?? "info"), words, close);
  document.getElementById("toasts").append(box);
  leave(box, tone);
}

export function wireToasts() {
  document.addEventListener("click", (event) =>
    event.target.closest("[data-dismiss]")?.closest(".toast")?.remove(),
  );
  for (const box of document.querySelectorAll("[data-toast]"))
    leave(box, box.classList.contains("toast-error") ? "error" : "info");
}

// What went wrong stays until it is dismissed.
function leave(box, tone) {
  if (tone !== "error" && tone !== "warning") setTimeout(() => box.remove(), 6000);
}
