// The list of runs: what is selected stays so when the list refreshes; one box selects all.
const selected = new Set();

function boxes() {
  return [...document.querySelectorAll("[name=run]")];
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-select-all]"))
    for (const box of boxes()) box.checked = event.target.checked;
  selected.clear();
  for (const box of boxes()) if (box.checked) selected.add(box.value);
});

document.addEventListener("htmx:afterSwap", () => {
  for (const box of boxes()) box.checked = selected.has(box.value);
});

// Enter in the field of the tag tags, and does nothing else.
document.getElementById("many")?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.target.name !== "tag") return;
  event.preventDefault();
  event.currentTarget.querySelector("[value=tag]").click();
});

document.querySelector("[data-compare]")?.addEventListener("click", ({ currentTarget }) => {
  const chosen = boxes().filter((box) => box.checked);
  location.assign(`${currentTarget.dataset.compare}?runs=${chosen.map((box) => box.value).join(",")}`);
});
