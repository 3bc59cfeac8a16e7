// The addresses that MLflow's client prints have the experiment and the run behind a #, which only
// a browser sees: go on to our page of it.

const page = document.querySelector("[data-mlflow-links]").dataset;
const [, experiment, run] =
  location.hash.match(/^#\/experiments\/([0-9]+)(?:\/runs\/([0-9]+))?/) ?? [];

if (run) {
  location.replace(`${page.runs}${run}/`);
} else if (experiment) {
  location.replace(experiment === "0" ? page.defaultExperiment : `${page.experiments}${experiment}/`);
}
