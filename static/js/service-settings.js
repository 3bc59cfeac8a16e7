// The settings of a service: opening it to everybody warns first, and asks.
const form = document.querySelector("[data-opening-form]");
const warning = form.querySelector("[data-opening-warning]");
const wasOpen = !warning.hidden;

function warn() {
  const isOpen = new FormData(form).get("opening") === "open";
  warning.hidden = !isOpen;
  if (isOpen && !wasOpen) {
    form.dataset.confirmTitle = "Open it to everybody?";
    form.dataset.confirm = "Requests without any key are answered from then on.";
    form.dataset.confirmYes = "Open it";
  } else delete form.dataset.confirm;
}

form.addEventListener("change", warn);
warn();
