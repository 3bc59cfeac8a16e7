// The log of a process on the page: only the lines on screen are elements, however long the log is.
import { LogLines } from "./log-lines.js";
import { LogSearch, hits } from "./log-search.js";
import { LogScroll } from "./log-scroll.js";
import { PLAIN, renderLine, styleAfter } from "./terminal.js";

const TAIL = 200;
const MARGIN = 60;
const STYLE_LOOKBACK = 100;
const RETRY_MS = 1000;

const BUILD = "build";
const MERGED = "merged";

function sourceButton(name) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button button-quiet button-small";
  button.dataset.logSource = name;
  button.setAttribute("aria-pressed", "false");
  button.textContent = name;
  return button;
}

export class LogView extends EventTarget {
  #rows = new Map(); // line number -> {element, key}
  #fetching = false;
  #target = null; // the line that a link or a search points to
  #opening = 0;

  constructor(element) {
    super();
    this.element = element;
    this.base = element.dataset.logBase;
    this.source = "";
    this.lines = new LogLines();
    this.parts = Object.fromEntries(
      ["scroller", "canvas", "layer", "rows", "count", "end", "wrap", "empty", "download", "find"].map(
        (name) => [name, element.querySelector(`[data-log-${name}]`)],
      ),
    );
    this.scroll = new LogScroll(this.parts, () => this.draw());
    this.search = new LogSearch(element, {
      fetch: (query, from, limit) =>
        this.#get(`search?q=${encodeURIComponent(query)}&from=${from}&limit=${limit}`),
      top: () => Math.floor(this.scroll.top),
      show: (line) => this.showLine(line),
      redraw: () => this.draw(),
    });
    this.#wire();
  }

  // Show another process; `line` (counted from 1) is shown and marked, else the end.
  async open(source, line = 0) {
    const opening = ++this.#opening;
    this.source = source;
    this.#target = null;
    this.lines.reset();
    this.#rows.clear();
    this.parts.rows.replaceChildren();
    this.search.clear();
    this.scroll.follow();
    for (const button of this.element.querySelectorAll("[data-log-source]"))
      button.setAttribute("aria-pressed", String(button.dataset.logSource === source));
    this.parts.download.href = `${this.base}${source}`;
    this.parts.download.download = `${source}.log`;
    this.element.setAttribute("aria-busy", "true");
    await this.#seed(opening);
    if (opening !== this.#opening) return;
    this.element.removeAttribute("aria-busy");
    if (line) this.showLine(line - 1);
    this.dispatchEvent(new Event("opened"));
  }

  // Offer a process that came up; the first one takes the place of the build's log. A view of an
  // earlier attempt has all that there is.
  addSource(name) {
    if ("logFixed" in this.element.dataset) return;
    const box = this.element.querySelector("[data-log-sources]");
    const known = [...box.children].map((button) => button.dataset.logSource);
    if (known.includes(name)) return;
    const processes = known.filter((source) => source !== BUILD && source !== MERGED);
    box.insertBefore(sourceButton(name), box.querySelector(`[data-log-source=${MERGED}]`));
    if (processes.length === 1 && !known.includes(MERGED)) box.append(sourceButton(MERGED));
    if (!processes.length && this.source === BUILD && !location.hash) this.open(name);
  }

  // The offsets that a (re)connecting socket should continue from.
  offsets() {
    return this.source ? { [this.source]: this.lines.next } : {};
  }

  receive({ process, offset, next, text, redrawn }) {
    if (process !== this.source) return;
    const isNext = redrawn
      ? this.lines.redraw(offset, next, redrawn)
      : this.lines.append(offset, next, text);
    if (isNext) this.draw();
    else this.#seed(this.#opening);
  }

  showLine(number) {
    this.#target = number;
    this.scroll.toLine(number, this.lines.total);
    this.draw();
  }

  draw() {
    this.scroll.schedule(() => this.#draw());
  }

  #wire() {
    this.element.addEventListener("click", (event) => {
      const source = event.target.closest("[data-log-source]");
      if (source) {
        history.replaceState(null, "", `#${source.dataset.logSource}`);
        this.open(source.dataset.logSource);
      }
      const number = event.target.closest(".log-number");
      if (number) {
        event.preventDefault();
        history.replaceState(null, "", number.hash);
        this.#target = Number(number.textContent) - 1;
        this.draw();
      }
    });
    this.parts.end.addEventListener("click", () => {
      this.scroll.follow();
      this.draw();
    });
    this.parts.wrap.addEventListener("click", () => {
      const wraps = this.element.classList.toggle("log-wraps");
      this.parts.wrap.setAttribute("aria-pressed", String(wraps));
      this.draw();
    });
    addEventListener("hashchange", () => this.openHash());
  }

  // #worker-0 opens a process, #worker-0:L123 a line of it.
  openHash(fallback = "") {
    const [, source, line] = location.hash.match(/^#([a-z]+(?:-[a-z\d]+)*)(?::L(\d+))?$/) ?? [];
    const isKnown = source && this.element.querySelector(`[data-log-source="${source}"]`);
    if (!isKnown && !fallback) return;
    const wanted = isKnown ? source : fallback;
    if (wanted !== this.source) this.open(wanted, isKnown ? Number(line ?? 0) : 0);
    else if (line) this.showLine(Number(line) - 1);
  }

  async #get(path) {
    const answer = await fetch(`${this.base}${this.source}/${path}`, {
      headers: { Accept: "application/json" },
    });
    if (answer.status === 404) return null;
    if (!answer.ok) throw new Error(`The log could not be read: ${answer.status}`);
    return answer.json();
  }

  async #seed(opening) {
    try {
      const answer = await this.#get(`lines?first=-${TAIL}&count=${TAIL}`);
      if (opening !== this.#opening) return;
      if (answer) this.lines.seed(answer);
      this.draw();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      if (opening === this.#opening) await this.#seed(opening);
    }
  }

  #draw() {
    const { lines, scroll } = this;
    const { first, last } = scroll.place(lines.total);
    lines.keepNear(first, last);
    this.#showRows(first, last);
    scroll.settle();
    this.parts.end.hidden = scroll.isFollowing;
    this.parts.empty.hidden = lines.total > 0;
    const count = `${lines.total.toLocaleString("en")} ${lines.total === 1 ? "line" : "lines"}`;
    if (this.parts.count.textContent !== count) this.parts.count.textContent = count;
    this.#fetchMissing(first - MARGIN, last + MARGIN);
  }

  #showRows(first, last) {
    const wanted = [];
    const rows = new Map();
    let style = this.#styleBefore(first);
    for (let number = first; number < last; number += 1) {
      const raw = this.lines.line(number);
      const key = `${style.classes}|${this.search.query}|${raw === undefined ? "" : `:${raw}`}`;
      let row = this.#rows.get(number);
      if (row?.key !== key) {
        const element = this.#row(number, raw, style, row?.element);
        row = { element, key };
      }
      row.element.classList.toggle("log-target", number === this.#target);
      rows.set(number, row);
      wanted.push(row.element);
      style = raw === undefined ? PLAIN : styleAfter(raw, style);
    }
    this.#rows = rows;
    const box = this.parts.rows;
    const kept = new Set(wanted);
    for (const element of [...box.children]) if (!kept.has(element)) element.remove();
    // Rows that stay are not moved, so that a selection in them survives.
    let at = box.firstChild;
    for (const element of wanted) {
      if (element === at) at = at.nextSibling;
      else box.insertBefore(element, at);
    }
  }

  #styleBefore(first) {
    let style = PLAIN;
    for (let number = Math.max(0, first - STYLE_LOOKBACK); number < first; number += 1) {
      const raw = this.lines.line(number);
      style = raw === undefined ? PLAIN : styleAfter(raw, style);
    }
    return style;
  }

  #row(number, raw, style, element = document.createElement("div")) {
    element.className = raw === undefined ? "log-row log-unknown" : "log-row";
    const link = document.createElement("a");
    link.className = "log-number";
    link.href = `#${this.source}:L${number + 1}`;
    link.textContent = String(number + 1);
    link.tabIndex = -1;
    const text = document.createElement("span");
    text.className = "log-text";
    if (raw !== undefined) text.append(...this.#runs(renderLine(raw, style).runs));
    element.replaceChildren(link, text);
    return element;
  }

  #runs(runs) {
    const marked = hits(runs, this.search.query);
    return marked.map(({ text, classes, isHit }) => {
      if (!classes && !isHit) return text;
      const run = document.createElement(isHit ? "mark" : "span");
      run.className = classes;
      run.textContent = text;
      return run;
    });
  }

  async #fetchMissing(first, last) {
    if (this.#fetching) return;
    const gap = this.lines.missing(first, last);
    if (!gap) return;
    const opening = this.#opening;
    this.#fetching = true;
    try {
      const answer = await this.#get(`lines?first=${gap.first}&count=${gap.count}`);
      if (answer && opening === this.#opening) this.lines.fill(answer);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    } finally {
      this.#fetching = false;
    }
    this.draw();
  }
}
