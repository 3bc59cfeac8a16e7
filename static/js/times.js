// Keeps "3 min ago" and running durations true while the page stays open.
const SPANS = [
  [86400 * 365, "y"],
  [86400 * 30, "mo"],
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
];

export function relativeWords(seconds) {
  const span = Math.abs(seconds);
  if (span < 5) return "just now";
  const [size, unit] = SPANS.find(([size]) => span >= size) ?? [1, "s"];
  const words = `${Math.floor(span / size)} ${unit}`;
  return seconds >= 0 ? `${words} ago` : `in ${words}`;
}

export function durationWords(seconds) {
  if (seconds < 10) return `${Math.max(seconds, 0).toFixed(1)} s`;
  let rest = Math.floor(seconds);
  const parts = [];
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
    parts.push([Math.floor(rest / size), unit]);
    rest %= size;
  }
  const first = parts.findIndex(([amount]) => amount > 0);
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount} ${unit}`)
    .join(" ");
}

// The server's clock counts, not the reader's.
let clockAhead = 0;
export function setServerTime(at) {
  clockAhead = Date.now() - new Date(at).getTime();
}

export function serverNow() {
  return Date.now() - clockAhead;
}

function show(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

export function refreshTimes() {
  const now = serverNow();
  for (const element of document.querySelectorAll("time[data-relative]"))
    show(element, relativeWords((now - new Date(element.dateTime).getTime()) / 1000));
  for (const element of document.querySelectorAll("[data-since]"))
    show(element, durationWords((now - new Date(element.dataset.since).getTime()) / 1000));
}
