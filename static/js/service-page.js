// A service's page: programs to choose from, and the form to try it with.
import { TryForm } from "./try-form.js";

function wireSwitches() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-switch-to]");
    if (!button) return;
    for (const other of button.closest("[data-switch]").querySelectorAll("[data-switch-to]")) {
      const isChosen = other === button;
      other.setAttribute("aria-pressed", String(isChosen));
      document.getElementById(other.dataset.switchTo).hidden = !isChosen;
    }
  });
}

wireSwitches();
const element = document.querySelector("[data-try]");
if (element) new TryForm(element);
