// Search in a log: the server finds the lines, the reader steps through them.

const BATCH = 1000;
const TYPING_MS = 250;

// Split styled runs so that what matches the query stands alone, marked.
export function hits(runs, query) {
  if (!query) return runs.map((run) => ({ ...run, isHit: false }));
  const text = runs.map((run) => run.text).join("").toLowerCase();
  const wanted = query.toLowerCase();
  const edges = [];
  for (let at = text.indexOf(wanted); at !== -1; at = text.indexOf(wanted, at + wanted.length))
    edges.push([at, at + wanted.length]);
  const pieces = [];
  let start = 0;
  for (const { text: whole, classes } of runs) {
    let at = start;
    const end = start + whole.length;
    for (const [from, to] of edges) {
      if (to <= at || from >= end) continue;
      if (from > at) pieces.push({ text: whole.slice(at - start, from - start), classes, isHit: false });
      const stop = Math.min(to, end);
      pieces.push({ text: whole.slice(Math.max(from, at) - start, stop - start), classes, isHit: true });
      at = stop;
    }
    if (at < end) pieces.push({ text: whole.slice(at - start), classes, isHit: false });
    start = end;
  }
  return pieces;
}

export class LogSearch {
  #timer = 0;
  #asked = 0;

  constructor(element, { fetch, top, show, redraw }) {
    Object.assign(this, { fetch, top, show, redraw });
    this.input = element.querySelector("[data-log-find]");
    this.label = element.querySelector("[data-log-hits]");
    this.buttons = element.querySelectorAll("[data-log-step]");
    this.#forget();
    this.input.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#start(), TYPING_MS);
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        event.preventDefault();
        if (this.query === this.input.value) this.step(event.shiftKey ? -1 : 1);
        else this.#start();
      } else if (event.key === "Escape") this.clear();
    });
    for (const button of this.buttons)
      button.addEventListener("click", () => this.step(Number(button.dataset.logStep)));
  }

  clear() {
    this.input.value = "";
    this.#forget();
    this.redraw();
  }

  #forget() {
    clearTimeout(this.#timer);
    this.#asked += 1;
    this.query = "";
    this.found = [];
    this.current = -1;
    this.scannedTo = 0;
    this.isDone = false;
    this.#tell();
  }

  async #start() {
    const query = this.input.value;
    this.#forget();
    this.query = query;
    this.redraw();
    if (!query) return;
    this.label.textContent = "Searching…";
    const top = this.top();
    if (!(await this.#extend(() => this.found.at(-1) >= top))) return;
    const after = this.found.findIndex((line) => line >= top);
    this.current = after === -1 ? this.found.length - 1 : after;
    this.#showCurrent();
  }

  // Search on until `enough`, or to the end; false when another search has begun.
  async #extend(enough) {
    const asked = this.#asked;
    while (!this.isDone && !enough()) {
      let answer;
      try {
        answer = await this.fetch(this.query, this.scannedTo, BATCH);
      } catch {
        if (asked === this.#asked) this.label.textContent = "The search failed";
        return false;
      }
      if (asked !== this.#asked) return false;
      const matches = answer?.matches ?? [];
      this.found.push(...matches.map((match) => match.line));
      this.isDone = !answer || answer.is_done;
      this.scannedTo = answer?.scanned_to ?? 0;
    }
    return true;
  }

  async step(by) {
    if (!this.query) return;
    const wanted = this.current + by;
    if (!(await this.#extend(() => this.found.length > wanted))) return;
    const count = this.found.length;
    if (!count) return;
    this.current = (wanted + count) % count;
    this.#showCurrent();
  }

  #showCurrent() {
    this.#tell();
    if (this.current >= 0) this.show(this.found[this.current]);
  }

  #tell() {
    const count = this.found.length.toLocaleString("en") + (this.isDone ? "" : "+");
    if (!this.query) this.label.textContent = "";
    else if (!this.found.length) this.label.textContent = "Not found";
    else this.label.textContent = `${(this.current + 1).toLocaleString("en")} of ${count}`;
    for (const button of this.buttons) button.disabled = !this.found.length;
  }
}
