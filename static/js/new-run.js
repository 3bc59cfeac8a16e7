// The form of a new run: what belongs to the chosen mode, and rows of names and values.

function showMode(form) {
  const mode = form.elements.mode.value;
  for (const part of form.querySelectorAll("[data-modes]"))
    part.hidden = !part.dataset.modes.split(" ").includes(mode);
}

function addPair(pairs) {
  const template = pairs.querySelector("[data-pair-template]");
  const list = pairs.querySelector("[data-pairs-list]");
  list.append(template.content.cloneNode(true));
  return list.lastElementChild;
}

function wirePairs(form) {
  form.addEventListener("click", (event) => {
    const pairs = event.target.closest("[data-pairs]");
    if (!pairs) return;
    if (event.target.closest("[data-add-pair]")) addPair(pairs).querySelector("input").focus();
    const remove = event.target.closest("[data-remove-pair]");
    if (!remove) return;
    const pair = remove.closest("[data-pair]");
    const next = pair.nextElementSibling ?? pair.previousElementSibling ?? addPair(pairs);
    pair.remove();
    next.querySelector("input").focus();
    pairs.dispatchEvent(new Event("change", { bubbles: true }));
  });
}

// A second click, or Enter pressed twice, is stopped here; the server would make one run of both.
function wireSubmit(form) {
  let isOnItsWay = false;
  form.addEventListener("submit", (event) => {
    if (isOnItsWay) event.preventDefault();
    isOnItsWay = true;
  });
  addEventListener("pageshow", () => {
    isOnItsWay = false;
  });
}

const form = document.querySelector("[data-new-run]");
showMode(form);
form.addEventListener("change", () => showMode(form));
wirePairs(form);
wireSubmit(form);
form.querySelector("[aria-invalid='true']")?.focus();
