// The charts of a run: small multiples that are fetched when they come into view.
import { Chart } from "./chart.js";
import { chartOf, lineName, percentWords, readPoints } from "./chart-data.js";
import { sizeText } from "./sizes.js";

const MAX_POINTS = 1000;
const REFRESH_MS = 1500;

export async function getJson(address) {
  const answer = await fetch(address, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`${address} answered ${answer.status}`);
  return answer.json();
}

// Shared by metrics and usage: the grid, its controls, what is in view, when to fetch again.
export class ChartGrid {
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
      this.refresh().catch(() => {}); // the next nudge tries again
    }, REFRESH_MS);
  }

  async refresh() {
    await this.load();
  }

  inOrder(titles) {
    return titles.sort();
  }

  has(title) {
    return this.#charts.has(title);
  }

  add(title, options) {
    this.addAll([[title, options]]);
  }

  // `charts` are pairs of a title and the chart's options; thousands are put in order at once.
  addAll(charts) {
    if (!charts.length) return;
    const added = new Set();
    for (const [title, options] of charts) {
      const chart = new Chart(title, options);
      chart.element.dataset.title = title.toLowerCase();
      this.#charts.set(title, { chart, isInView: false, isStale: true, isBusy: false });
      added.add(title);
    }
    let next = null;
    for (const title of this.inOrder([...this.#charts.keys()]).reverse()) {
      const { element } = this.#charts.get(title).chart;
      if (added.has(title)) {
        this.grid.insertBefore(element, next);
        this.watcher.observe(element);
      }
      next = element;
    }
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
      entry.isStale = true;
    } finally {
      entry.isBusy = false;
    }
  }

  #seen(entries) {
    const charts = new Map([...this.#charts.values()].map((entry) => [entry.chart.element, entry]));
    for (const { target, isIntersecting } of entries) {
      const entry = charts.get(target);
      entry.isInView = isIntersecting;
      this.#refresh(entry);
    }
  }

  resetZoom() {
    this.#zoomAll(null);
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
  #lines = new Map(); // chart title -> [{name, side}]
  #known = new Set();
  #isListed = false;

  // `names` are the metrics that grew; without them all may have.
  changed(names) {
    if (!names?.every((name) => this.#known.has(name))) this.#isListed = false;
    super.changed();
  }

  async refresh() {
    if (this.#isListed) this.stale();
    else await this.load();
  }

  async load() {
    const { series, left_out: leftOut } = await getJson(`${this.api}metrics?names_only=true`);
    const titles = new Set();
    for (const { name } of series) {
      if (this.#known.has(name)) continue;
      this.#known.add(name);
      const { title, side } = chartOf(name);
      this.#lines.set(title, [...(this.#lines.get(title) ?? []), { name, side }]);
      if (!this.has(title)) titles.add(title);
    }
    this.addAll([...titles].map((title) => [title, {}]));
    const note = this.element.querySelector("[data-charts-left-out]");
    if (note) {
      note.hidden = !leftOut;
      note.textContent = leftOut ?? "";
    }
    this.#isListed = true;
    this.stale();
  }

  async linesOf(title, zoom) {
    const answers = await Promise.all(
      this.#lines.get(title).map(async ({ name, side }) => {
        const query = new URLSearchParams({ name, max_points: MAX_POINTS });
        if (zoom) {
          query.set("from", Math.floor(zoom[0]));
          query.set("to", Math.ceil(zoom[1]));
        }
        const { series } = await getJson(`${this.api}metrics?${query}`);
        return series.map(({ process, points }) => ({ process, side, points }));
      }),
    );
    const found = answers.flat();
    const hasMany = new Set(found.map(({ process }) => process)).size > 1;
    return found.map(({ process, side, points }) => ({
      name: lineName({ process, side }, hasMany),
      ...readPoints(points.map(({ step, value }) => [step, value])),
    }));
  }
}

const USAGE = [
  ["CPUs", "cpus", undefined],
  ["Memory", "memory_bytes", sizeText],
  ["GPU", "gpu", percentWords],
  ["GPU memory", "gpu_memory_bytes", sizeText],
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
