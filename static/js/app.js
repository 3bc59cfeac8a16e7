// What every page does: theme, menus, confirmations, copy buttons, toasts, relative times.
import { toast, wireToasts } from "./toasts.js";
import { refreshTimes, setServerTime } from "./times.js";

const THEME_KEY = "trainyard-theme";

function showTheme(choice) {
  if (choice === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  for (const button of document.querySelectorAll("[data-theme-choice]"))
    button.setAttribute("aria-pressed", String(button.dataset.themeChoice === choice));
}

function wireTheme() {
  showTheme(localStorage.getItem(THEME_KEY) ?? "auto");
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme-choice]");
    if (!button) return;
    const choice = button.dataset.themeChoice;
    if (choice === "auto") localStorage.removeItem(THEME_KEY);
    else localStorage.setItem(THEME_KEY, choice);
    showTheme(choice);
    document.dispatchEvent(new CustomEvent("trainyard:theme"));
  });
}

function wireMenus() {
  const closeOthers = (kept) => {
    for (const menu of document.querySelectorAll("details[data-menu][open]"))
      if (menu !== kept) menu.open = false;
  };
  document.addEventListener("click", (event) => closeOthers(event.target.closest("[data-menu]")));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = document.querySelector("details[data-menu][open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

function ask(element) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-title").textContent =
    element.dataset.confirmTitle ?? "Are you sure?";
  document.getElementById("confirm-text").textContent = element.dataset.confirm;
  document.getElementById("confirm-yes").textContent = element.dataset.confirmYes ?? "Continue";
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

function wireConfirmations() {
  const agreed = new WeakSet();
  document.addEventListener(
    "submit",
    async (event) => {
      const form = event.target;
      const asking = event.submitter?.dataset.confirm ? event.submitter : form;
      if (!asking.dataset.confirm || agreed.delete(form)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      if (!(await ask(asking))) return;
      // A live page may have drawn the form anew meanwhile.
      const current = form.isConnected ? form : document.getElementById(form.id);
      if (!current) return;
      agreed.add(current);
      current.requestSubmit(current === form ? event.submitter : null);
    },
    true,
  );
}

function wireCopying() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    const source = button.dataset.copyFrom && document.querySelector(button.dataset.copyFrom);
    const text = source ? (source.value ?? source.textContent) : button.dataset.copy;
    await copyText(text);
    toast("Copied.", "success");
  });
}

async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Plain http has no clipboard API.
  const area = Object.assign(document.createElement("textarea"), { value: text });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

function wireForms() {
  // A second click on a button that is already at work does nothing.
  document.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.target.method !== "post") return;
    const button = event.submitter;
    if (button) setTimeout(() => button.classList.add("is-waiting"));
  });
  addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll(".is-waiting"))
      button.classList.remove("is-waiting");
  });
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-submit-on-change]");
    if (form) form.requestSubmit();
  });
}

function wireDialogs() {
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open-dialog]");
    if (opener) document.getElementById(opener.dataset.openDialog).showModal();
    if (event.target.closest("[data-close-dialog]")) event.target.closest("dialog").close();
  });
}

function wireHtmx() {
  document.body.addEventListener("htmx:responseError", (event) => {
    const { status } = event.detail.xhr;
    if (event.detail.elt.closest("[data-quiet]")) return;
    toast(`The server responded with status ${status}. Reload the page and try again.`, "error");
  });
  document.body.addEventListener("htmx:afterSettle", () => refreshTimes());
  // A hidden page asks for nothing; it catches up when shown.
  document.body.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.detail.elt.closest("[data-quiet]")) event.preventDefault();
  });
}

// On a narrow screen the tab that is open may lie outside the row.
document
  .querySelector(".tabs [aria-current]")
  ?.scrollIntoView({ block: "nearest", inline: "center", behavior: "instant" });

wireTheme();
wireMenus();
wireConfirmations();
wireCopying();
wireForms();
wireDialogs();
wireHtmx();
wireToasts();
setServerTime(document.body.dataset.serverTime);
refreshTimes();
setInterval(refreshTimes, 1000);
