// Charts of several runs: one line for each, in the same colour in every chart.
import { chartOf, readPoints } from "./chart-data.js";
import { ChartGrid, getJson } from "./charts.js";

const MAX_POINTS = 1000;
const SECONDS_PER_MINUTE = 60;

class CompareCharts extends ChartGrid {
  #names = new Map(); // chart title -> [{name, side}]
  #axis = "step";

  constructor(element, address, runs) {
    super(element, address);
    this.runs = runs;
    element.querySelector("[data-charts-axis]").addEventListener("change", (event) => {
      this.#axis = event.target.value;
      this.resetZoom();
    });
  }

  async load() {
    const { series } = await this.#ask({ names_only: true });
    for (const { name } of series) {
      const { title, side } = chartOf(name);
      const known = this.#names.get(title) ?? [];
      if (!known.some((one) => one.name === name)) this.#names.set(title, [...known, { name, side }]);
    }
    this.addAll([...this.#names.keys()].map((title) => [title, {}]));
    this.stale();
  }

  async linesOf(title, zoom) {
    const range =
      zoom && this.#axis === "step" ? { from: Math.floor(zoom[0]), to: Math.ceil(zoom[1]) } : {};
    const names = this.#names.get(title);
    const answers = await Promise.all(
      names.map(({ name }) => this.#ask({ name, max_points: MAX_POINTS, ...range })),
    );
    const lines = answers.flatMap(({ series }, at) =>
      series.map((one) => ({
        name: [`Run ${one.run}`, names[at].side, one.process].filter(Boolean).join(" "),
        colour: this.runs.indexOf(one.run),
        isDashed: at > 0,
        ...readPoints(this.#placed(one.points)),
      })),
    );
    return lines.sort((a, b) => a.colour - b.colour);
  }

  #placed(points) {
    if (this.#axis === "step") return points.map(({ step, value }) => [step, value]);
    const times = points.map(({ at }) => Date.parse(at) / 1000);
    const first = Math.min(...times);
    return points
      .map(({ value }, at) => [(times[at] - first) / SECONDS_PER_MINUTE, value])
      .sort((a, b) => a[0] - b[0]);
  }

  #ask(query) {
    const words = new URLSearchParams({ runs: this.runs.join(","), ...query });
    return getJson(`${this.api}compare/metrics?${words}`);
  }
}

const element = document.querySelector("[data-charts-compare]");
const runs = element.dataset.chartsCompare.split(",").map(Number);
new CompareCharts(element, element.dataset.api, runs).load().catch(() => {
  element.querySelector("[data-charts-empty]").hidden = false;
});
