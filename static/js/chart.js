// One chart: a card with a title, lines, and their values under the cursor.
import uPlot from "../vendor/uplot/uPlot.esm.js";
import { joined, short, smoothed } from "./chart-data.js";

const HEIGHT = 220;
const COLOURS = 8;
const RAW_OPACITY = 0.28;
const DASH = [6, 4];
const DAY = { month: "short", day: "numeric" };

function colour(element, name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  element.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

function seriesName(line, place) {
  return `series-${((line.colour ?? place) % COLOURS) + 1}`;
}

// All times of the pages are in UTC, where no hour comes twice.
const ZONE = "UTC";

function clockWords(_, times, __, ___, step) {
  const form = step < 86400 ? { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } : DAY;
  const precise = step < 60 ? { ...form, second: "2-digit" } : form;
  const clock = new Intl.DateTimeFormat("en", { ...precise, timeZone: ZONE });
  return times.map((time) => clock.format(time * 1000));
}

const TIME_AXIS = { values: clockWords, label: ZONE, labelSize: 16, labelGap: 0 };

// What is 0 throughout has an axis to 1; that of uPlot would go to 100.
function heights(plot, min, max) {
  if (min === null || max === null) return [null, null];
  return min === 0 && max === 0 ? [0, 1] : uPlot.rangeNum(min, max, 0.1, true);
}

/** Give the points that no line joins to another, which would not be seen without a dot. */
function loners(plot, series, areAllShown) {
  if (areAllShown) return null;
  const ys = plot.data[series];
  const known = [...ys.keys()].filter((at) => ys[at] !== undefined);
  const isGap = (at) => at === undefined || ys[at] === null;
  return known.filter((at, i) => !isGap(at) && isGap(known[i - 1]) && isGap(known[i + 1]));
}

export class Chart {
  #plot = null;
  #lines = []; // [{name, xs, ys, odd, colour, isDashed}]; colour is a number, else the line's own
  #chips = [];

  // `isTime`: x is seconds since 1970. `words` writes a value. `zoomed(from, to)` asks for detail.
  constructor(title, { isTime = false, words = short, zoomed = () => {}, link = "" }) {
    Object.assign(this, { title, isTime, words, zoomed });
    this.logScale = false;
    this.weight = 0;
    this.zoom = null;
    this.element = document.createElement("figure");
    this.element.className = "card chart";
    const caption = document.createElement("figcaption");
    caption.className = "chart-title";
    caption.textContent = title;
    if (link) caption.title = link;
    this.legend = document.createElement("div");
    this.legend.className = "chart-legend";
    this.frame = document.createElement("div");
    this.frame.className = "chart-frame";
    this.element.append(caption, this.frame, this.legend);
    new ResizeObserver(() => this.#resize()).observe(this.frame);
  }

  show(lines) {
    this.#lines = lines;
    this.draw();
  }

  // Draw anew: new lines, another scale, other colours.
  draw() {
    if (!this.#lines.length || !this.frame.clientWidth) return;
    const series = this.#series();
    const data = this.#data();
    const key = JSON.stringify([series.map((one) => [one.label, one.stroke, one.width]), this.logScale]);
    if (this.#plot && key === this.key) {
      this.#plot.setData(data, false);
      this.#fit();
    } else {
      this.key = key;
      this.#plot?.destroy();
      this.#plot = new uPlot(this.#options(series), data, this.frame);
      this.#fit();
    }
    this.#showLegend();
  }

  #fit() {
    const xs = this.#plot.data[0];
    const [from, to] = this.zoom ?? [xs[0], xs.at(-1)];
    const room = from === to ? 1 : 0;
    this.#plot.setScale("x", { min: from - room, max: to + room });
  }

  #series() {
    return this.#lines.flatMap((line, i) => {
      const stroke = colour(this.element, seriesName(line, i));
      const points = { show: line.xs.length < 30, size: 5, fill: stroke, filter: loners };
      const dash = line.isDashed ? DASH : undefined;
      const clear = { label: line.name, stroke, width: 1.8, points, spanGaps: false, dash };
      const faint = { ...clear, width: 1, alpha: RAW_OPACITY, points: { show: false } };
      return this.weight ? [faint, clear] : [clear];
    });
  }

  #data() {
    const usable = (y) => (this.logScale && y !== null && y !== undefined && y <= 0 ? null : y);
    const lines = this.#lines.flatMap((line) => {
      const ys = line.ys.map(usable);
      const clear = { xs: line.xs, ys: smoothed(ys, this.weight) };
      return this.weight ? [{ xs: line.xs, ys }, clear] : [clear];
    });
    return joined(lines);
  }

  #options(series) {
    const grid = { stroke: colour(this.element, "line"), width: 1 };
    const axis = {
      stroke: colour(this.element, "text-soft"),
      grid,
      ticks: { ...grid, size: 4 },
      font: `11px ${getComputedStyle(this.element).fontFamily}`,
    };
    return {
      width: this.frame.clientWidth,
      height: HEIGHT,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), ZONE),
      legend: { show: false },
      cursor: {
        sync: { key: this.isTime ? "time" : "step" },
        drag: { x: true, y: false },
        points: { size: 6 },
      },
      scales: {
        x: { time: this.isTime, auto: false },
        y: { distr: this.logScale ? 3 : 1, ...(!this.logScale && { range: heights }) },
      },
      axes: [
        { ...axis, size: 28, ...(this.isTime && { ...TIME_AXIS, labelFont: axis.font }) },
        { ...axis, size: 62, values: (_, values) => values.map((y) => (y === null ? "" : this.words(y))) },
      ],
      series: [{}, ...series],
      hooks: {
        draw: [(plot) => this.#drawOdd(plot)],
        setCursor: [() => this.#showValues()],
        setSelect: [(plot) => this.#selected(plot)],
        ready: [(plot) => plot.over.addEventListener("dblclick", () => this.#unzoom())],
      },
    };
  }

  #selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    this.zoom = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    this.element.dispatchEvent(new CustomEvent("chart:zoom", { bubbles: true, detail: this.zoom }));
  }

  #unzoom() {
    this.zoom = null;
    this.element.dispatchEvent(new CustomEvent("chart:zoom", { bubbles: true, detail: null }));
  }

  // NaN and infinities have no place on the axis: a mark at the edge says where they were.
  #drawOdd(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.font = `bold ${11 * devicePixelRatio}px sans-serif`;
    ctx.textAlign = "center";
    ctx.fillStyle = colour(this.element, "bad");
    for (const line of this.#lines)
      for (const { x, word } of line.odd) {
        const at = plot.valToPos(x, "x", true);
        if (at < bbox.left || at > bbox.left + bbox.width) continue;
        const isHigh = word === "Infinity";
        const mark = word === "NaN" ? "×" : isHigh ? "▲" : "▼";
        ctx.fillText(mark, at, isHigh ? bbox.top + 12 * devicePixelRatio : bbox.top + bbox.height - 3);
      }
    ctx.restore();
  }

  #showLegend() {
    this.#chips = this.#lines.map((line, i) => {
      const chip = document.createElement("span");
      chip.className = `chart-chip ${seriesName(line, i)}`;
      const value = document.createElement("span");
      value.className = "number strong";
      chip.append(line.name || this.title.split("/").at(-1), " ", value);
      return { chip, value, line };
    });
    this.legend.replaceChildren(...this.#chips.map(({ chip }) => chip));
    this.#showValues();
  }

  #showValues() {
    const cursor = this.#plot?.cursor;
    const x = cursor?.left >= 0 && cursor.idx != null ? this.#plot.data[0][cursor.idx] : null;
    for (const { value, line } of this.#chips) {
      const at = x === null ? line.xs.length - 1 : line.xs.findLastIndex((known) => known <= x);
      const odd = line.odd.find((one) => one.x === line.xs[at]);
      value.textContent = odd ? odd.word : this.words(line.ys[at]);
    }
  }

  #resize() {
    if (!this.#plot) this.draw();
    else if (this.frame.clientWidth) this.#plot.setSize({ width: this.frame.clientWidth, height: HEIGHT });
  }
}
