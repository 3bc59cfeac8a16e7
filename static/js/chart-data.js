// Numbers for charts: which lines belong together, smoothing, and what no axis can show.

// Folders that Keras and estimators write the same scalar under: lines of one chart.
const SIDES = new Set(["train", "training", "validation", "val", "eval", "evaluation", "test"]);

export function chartOf(name) {
  const [side, ...rest] = name.split("/");
  return rest.length && SIDES.has(side) ? { title: rest.join("/"), side } : { title: name, side: "" };
}

export function lineName({ side, process }, hasManyProcesses) {
  return [hasManyProcesses && process, side].filter(Boolean).join(" ");
}

// Split points [[x, value], …] into what can be drawn and what cannot: NaN and the infinities,
// which JSON carries as words.
export function readPoints(points) {
  const xs = [];
  const ys = [];
  const odd = [];
  for (const [x, value] of points) {
    const number = typeof value === "number" ? value : Number.NaN;
    xs.push(x);
    ys.push(Number.isFinite(number) ? number : null);
    if (!Number.isFinite(number)) odd.push({ x, word: value === null ? "NaN" : String(value) });
  }
  return { xs, ys, odd };
}

// Exponential moving average without the bias of its start, as TensorBoard smooths.
export function smoothed(ys, weight) {
  if (!weight) return ys;
  let average = 0;
  let mass = 0;
  return ys.map((y) => {
    if (y === null || y === undefined) return y;
    average = average * weight + (1 - weight) * y;
    mass = mass * weight + (1 - weight);
    return average / mass;
  });
}

// One x axis for lines that were measured at different steps.
export function joined(lines) {
  const xs = [...new Set(lines.flatMap((line) => line.xs))].sort((a, b) => a - b);
  const place = new Map(xs.map((x, i) => [x, i]));
  const columns = lines.map((line) => {
    const column = new Array(xs.length).fill(undefined); // undefined joins, null breaks the line
    line.xs.forEach((x, i) => (column[place.get(x)] = line.ys[i]));
    return column;
  });
  return [xs, ...columns];
}

export function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(3);
  return Number(value.toPrecision(5)).toString();
}

export function percentWords(value) {
  return value === null || value === undefined ? "–" : `${Math.round(value * 100)} %`;
}
