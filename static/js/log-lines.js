// What the browser knows of a log: how many lines there are, and the text of those near the
// screen. Everything else is fetched when it is looked at and dropped afterwards.

export const PAGE = 256;
const PAGES_KEPT = 16;
const STORED_PER_APPEND = 1024;
const LONGEST_LINE = 65536;
const SHOWN_OF_A_CUT_LINE = 16384;
const WINDOW = 50; // lines at the end that the log may draw anew, as runs/logs/screen.py has it

export class LogLines {
  constructor() {
    this.reset();
  }

  reset() {
    this.total = 0;
    this.next = 0; // where the stream goes on: an offset that the server gave
    this.isOpen = false; // the last line has no end yet
    this.isCut = false; // the last line is too long to hold
    this.pages = new Map();
  }

  // Take the server's answer to "the last lines, please" as the state of things.
  seed({ first, total, lines, size, complete }) {
    this.pages.clear();
    this.total = total;
    this.next = size;
    this.isOpen = total > 0 && !complete;
    this.isCut = false;
    lines.forEach((line, i) => this.#store(first + i, line));
  }

  // Take lines that were asked for; the last one counts only if the server saw its end.
  fill({ first, total, lines, complete }) {
    lines.forEach((line, i) => {
      const number = first + i;
      const isWhole = number < total - 1 || complete;
      const isWanted = this.line(number) === undefined && number < this.total - (this.isOpen ? 1 : 0);
      if (isWhole && isWanted) this.#store(number, line);
    });
  }

  // Take streamed text that drew lines anew: the server says what the last lines are now. False
  // means that something lies between it and what is known.
  redraw(offset, next, { first, total, lines, complete }) {
    if (next <= this.next) return true;
    if (offset !== this.next) return false;
    const outdated = Math.max(0, Math.min(first, this.total - WINDOW));
    for (let number = outdated; number < this.total; number += 1) this.#store(number, undefined);
    this.next = next;
    this.total = total;
    this.isOpen = total > 0 && !complete;
    this.isCut = false;
    lines.forEach((line, i) => this.#store(first + i, line));
    return true;
  }

  // Take streamed text. False means that something lies between it and what is known.
  append(offset, next, text) {
    if (next <= this.next) return true;
    if (offset !== this.next) return false;
    this.next = next;
    const breaks = countBreaks(text);
    const base = this.isOpen ? this.total - 1 : this.total;
    const from = breaks > STORED_PER_APPEND ? startOfLast(text, STORED_PER_APPEND) : 0;
    const pieces = text.slice(from).split("\n");
    const number = base + breaks - (pieces.length - 1);
    if (this.isOpen) {
      if (from === 0) pieces[0] = this.#continued(pieces[0]);
      else this.#store(this.total - 1, undefined);
    }
    if (breaks) this.isCut = false;
    const rest = pieces.pop();
    pieces.forEach((piece, i) => this.#store(number + i, this.#shortened(piece)));
    this.isOpen = rest !== "";
    this.total = base + breaks + (this.isOpen ? 1 : 0);
    if (this.isOpen) {
      this.isCut ||= rest.length - lastCarriage(rest) > LONGEST_LINE;
      this.#store(this.total - 1, this.#shortened(rest));
    }
    return true;
  }

  line(number) {
    return this.pages.get(Math.floor(number / PAGE))?.[number % PAGE];
  }

  // The first stretch of unknown lines between two numbers, in whole pages; null when all is known.
  missing(first, last) {
    for (let number = Math.max(0, first); number <= Math.min(last, this.total - 1); number += 1) {
      if (this.line(number) !== undefined) continue;
      const start = Math.floor(number / PAGE) * PAGE;
      return { first: start, count: Math.min(PAGE * 2, this.total - start) };
    }
    return null;
  }

  // Forget what is far from the lines on screen.
  keepNear(first, last) {
    if (this.pages.size <= PAGES_KEPT) return;
    const middle = (first + last) / 2 / PAGE;
    const tail = Math.floor((this.total - 1) / PAGE);
    const byDistance = [...this.pages.keys()]
      .filter((page) => page !== tail)
      .sort((a, b) => Math.abs(b - middle) - Math.abs(a - middle));
    for (const page of byDistance.slice(0, this.pages.size - PAGES_KEPT)) this.pages.delete(page);
  }

  #store(number, line) {
    const page = Math.floor(number / PAGE);
    if (!this.pages.has(page)) this.pages.set(page, []);
    this.pages.get(page)[number % PAGE] = line;
  }

  #continued(piece) {
    const known = this.line(this.total - 1) ?? "… ";
    if (!this.isCut) return known + piece;
    const carriage = lastCarriage(piece);
    if (!carriage) return known;
    this.isCut = false;
    return piece.slice(carriage);
  }

  // A line that redraws itself needs only its last drawing; others are cut.
  #shortened(line) {
    if (line.length <= LONGEST_LINE) return line;
    const rest = line.slice(lastCarriage(line));
    if (rest.length <= LONGEST_LINE) return rest;
    return `${rest.slice(0, SHOWN_OF_A_CUT_LINE)} … (the line is longer; download the log to see it)`;
  }
}

// Where the last drawing of a line starts: after the last carriage return that something follows.
function lastCarriage(text) {
  const end = text.replace(/\r+$/, "").length;
  return text.lastIndexOf("\r", end - 1) + 1;
}

function countBreaks(text) {
  let count = 0;
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) count += 1;
  return count;
}

function startOfLast(text, breaks) {
  let at = text.length;
  for (let i = 0; i <= breaks; i += 1) at = text.lastIndexOf("\n", at - 1);
  return at + 1;
}
