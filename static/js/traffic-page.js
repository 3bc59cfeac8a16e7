// The charts of a service's traffic, a line for each revision, drawn anew every few seconds.
import { ChartGrid, getJson } from "./charts.js";
import { readPoints, short } from "./chart-data.js";

const milliseconds = (value) => (value === null || value === undefined ? "–" : `${short(value)} ms`);
const CHARTS = new Map([
  ["Requests per second", { fields: [["requests_per_second", ""]] }],
  ["Latency", { fields: [["p50_ms", "p50"], ["p95_ms", "p95"], ["p99_ms", "p99"]], words: milliseconds }],
  ["Errors per second", { fields: [["errors_per_second", ""]] }],
  ["Requests in flight", { fields: [["in_flight", ""]] }],
  ["Shadow mismatches per second", { fields: [["mismatches_per_second", ""]], isRare: true }],
]);

class TrafficCharts extends ChartGrid {
  inOrder(titles) {
    return [...CHARTS.keys()].filter((title) => titles.includes(title));
  }

  async load() {
    this.traffic = await getJson(this.element.dataset.source);
    const { revisions } = this.traffic;
    for (const [title, { fields, words, isRare }] of CHARTS) {
      const isWanted = isRare ? revisions.some((one) => one[fields[0][0]].some(Boolean)) : revisions.length;
      if (isWanted && !this.has(title)) this.add(title, { isTime: true, ...(words && { words }) });
    }
    this.stale();
  }

  async linesOf(title) {
    const { at, revisions } = this.traffic;
    const { fields } = CHARTS.get(title);
    return revisions.flatMap((revision) =>
      fields.map(([field, words]) => {
        const points = at.map((x, i) => [x, revision[field][i]]);
        const { xs, ys } = readPoints(points);
        // Where nothing was asked there is nothing to draw, and nothing wrong.
        return { name: [words, `revision ${revision.number}`].filter(Boolean).join(" · "), xs, ys, odd: [] };
      }),
    );
  }
}

const element = document.querySelector("[data-charts]");
const charts = new TrafficCharts(element, "");
const refresh = () => charts.load().catch(() => {}); // the next turn tries again
refresh();
setInterval(() => document.hidden || refresh(), 1000 * element.dataset.refresh);
