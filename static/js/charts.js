// The charts of a run: small multiples that are fetched when they come into view.
import { Chart } from "./chart.js";
import { bytesWords, chartOf, lineName, percentWords, readPoints } from "./chart-data.js";

const MAX_POINTS = 1000;
const REFRESH_MS = 1500;

async function getJson(address) {
  const answer = await fetch(address, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`${address} answered ${answer.status}`);
  return answer.json();
}

// Shared by metrics and usage: the grid, its controls, what is in view, when to fetch again.
class ChartGrid {
  #charts = new Map(); // title -> {chart, isInView, isStale, isBusy}
  #zoom = null;
  #timer = 0;

  constructor(element, api) {
    this.element = element;
    this.api = api;
    this.grid = element.querySelector("[data-charts-grid]");
    this.empty = element.querySelector("[data-charts-empty]");
    this.watcher = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: "200px" });
    element.addEventListener("chart:zoom", (event) => this.#zoomAll(event.detail));
    document.addEventListener("trainyard:theme", () => this.#redraw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#redraw());
    this.#wireControls();
  }

  // Something was measured: the charts in view are fetched again, soon and all at once.
  changed() {
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      this.load().catch(() => {});
    }, REFRESH_MS);
  }

  has(title) {
    return this.#charts.has(title);
  }

  add(title, options) {
    const chart = new Chart(title, options);
    chart.element.dataset.title = title.toLowerCase();
    const entry = { chart, isInView: false, isStale: true, isBusy: false };
    this.#charts.set(title, entry);
    const after = [...this.#charts.keys()].sort().find((other) => other > title);
    this.grid.insertBefore(chart.element, this.#charts.get(after)?.chart.element ?? null);
    this.watcher.observe(chart.element);
    this.#filter();
  }

  stale() {
    this.empty.hidden = this.#charts.size > 0;
    for (const entry of this.#charts.values()) {
      entry.isStale = true;
      this.#refresh(entry);
    }
  }

  async #refresh(entry) {
    if (!entry.isInView || !entry.isStale || entry.isBusy) return;
    entry.isBusy = true;
    entry.isStale = false;
    try {
      entry.chart.show(await this.linesOf(entry.chart.title, this.#zoom));
    } catch {
      entry.isStale = true; // the next nudge tries again
    } finally {
      entry.isBusy = false;
    }
  }

  #seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const entry = [...this.#charts.values()].find(({ chart }) => chart.element === target);
      entry.isInView = isIntersecting;
      this.#refresh(entry);
    }
  }

  #zoomAll(zoom) {
    this.#zoom = zoom;
    for (const { chart } of this.#charts.values()) {
      chart.zoom = zoom;
      chart.draw();
    }
    this.stale();
  }

  #redraw() {
    for (const { chart } of this.#charts.values()) chart.draw();
  }

  #wireControls() {
    const find = (name) => this.element.querySelector(`[data-charts-${name}]`);
    this.filter = find("filter");
    this.filter?.addEventListener("input", () => this.#filter());
    find("log")?.addEventListener("change", (event) => {
      this.logScale = event.target.checked;
      for (const { chart } of this.#charts.values()) chart.logScale = this.logScale;
      this.#redraw();
    });
    find("smoothing")?.addEventListener("input", (event) => {
      this.weight = Number(event.target.value);
      find("smoothing-value").textContent = event.target.value;
      for (const { chart } of this.#charts.values()) chart.weight = this.weight;
      this.#redraw();
    });
  }

  #filter() {
    const wanted = this.filter?.value.toLowerCase() ?? "";
    for (const { chart } of this.#charts.values()) {
      chart.element.hidden = !chart.element.dataset.title.includes(wanted);
      chart.logScale = this.logScale ?? false;
      chart.weight = this.weight ?? 0;
    }
  }
}

export class MetricCharts extends ChartGrid {
  #series = new Map(); // chart title -> [{name, process, side}]

  async load() {
    const { series } = await getJson(`${this.api}metrics`);
    this.hasManyProcesses = new Set(series.map(({ process }) => process)).size > 1;
    this.#series = new Map();
    for (const { name, process } of series) {
      const { title, side } = chartOf(name);
      if (!this.#series.has(title)) this.#series.set(title, []);
      this.#series.get(title).push({ name, process, side });
      if (!this.has(title)) this.add(title, {});
    }
    this.stale();
  }

  async linesOf(title, zoom) {
    const wanted = this.#series.get(title);
    const answers = new Map();
    await Promise.all(
      [...new Set(wanted.map(({ name }) => name))].map(async (name) => {
        const query = new URLSearchParams({ name, max_points: MAX_POINTS });
        if (zoom) {
          query.set("from", Math.floor(zoom[0]));
          query.set("to", Math.ceil(zoom[1]));
        }
        answers.set(name, (await getJson(`${this.api}metrics?${query}`)).series);
      }),
    );
    return wanted.map((one) => {
      const found = answers.get(one.name).find(({ process }) => process === one.process);
      const points = (found?.points ?? []).map(({ step, value }) => [step, value]);
      return { name: lineName(one, this.hasManyProcesses), ...readPoints(points) };
    });
  }
}

const USAGE = [
  ["CPU (cores)", "cpus", undefined],
  ["Memory", "memory_bytes", bytesWords],
  ["GPU", "gpu", percentWords],
  ["GPU memory", "gpu_memory_bytes", bytesWords],
];

export class UsageCharts extends ChartGrid {
  #processes = [];

  async load() {
    const { processes } = await getJson(`${this.api}usage?max_points=${MAX_POINTS}`);
    this.#processes = processes;
    for (const [title, field, words] of USAGE) {
      const isMeasured = processes.some(({ samples }) =>
        samples.some((sample) => sample[field] !== null && sample[field] !== undefined),
      );
      if (isMeasured && !this.has(title)) this.add(title, { isTime: true, ...(words && { words }) });
    }
    this.stale();
  }

  async linesOf(title) {
    const [, field] = USAGE.find(([one]) => one === title);
    return this.#processes.map(({ process, samples }) => ({
      name: process,
      ...readPoints(samples.map((sample) => [Date.parse(sample.at) / 1000, sample[field]])),
    }));
  }
}
