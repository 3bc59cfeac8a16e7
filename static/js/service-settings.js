// The settings of a service: opening it to everyone warns first, and asks.
const form = document.querySelector("[data-access-policy-form]");
const warning = form.querySelector("[data-access-policy-warning]");
const wasOpen = !warning.hidden;

function warn() {
  const isOpen = new FormData(form).get("access_policy") === "open";
  warning.hidden = !isOpen;
  if (isOpen && !wasOpen) {
    form.dataset.confirmTitle = "Open it to everyone?";
    form.dataset.confirm = "Requests need no key from then on.";
    form.dataset.confirmYes = "Open";
  } else delete form.dataset.confirm;
}

form.addEventListener("change", warn);
warn();
