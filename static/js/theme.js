// Runs before the first paint, so that a chosen theme does not flash.
(() => {
  const choice = localStorage.getItem("trainyard-theme");
  if (choice === "light" || choice === "dark") document.documentElement.dataset.theme = choice;
})();
