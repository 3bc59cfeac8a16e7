// Where the reader is in a log. The line at the top is the truth; the scroll bar only shows it,
// because no element can be as high as a million lines.

const HIGHEST = 8_000_000;

export class LogScroll {
  #frame = 0;
  #set = 0; // the scroll position that we gave, to tell our own from the reader's

  constructor(parts, changed) {
    Object.assign(this, parts);
    this.changed = changed;
    this.top = 0;
    this.total = 0;
    this.isFollowing = true;
    this.lineHeight = Number.parseFloat(getComputedStyle(this.rows).lineHeight) || 20;
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.scroller.addEventListener("wheel", (event) => this.#wheeled(event), { passive: false });
    this.scroller.addEventListener("keydown", (event) => this.#pressed(event));
    new ResizeObserver(() => changed()).observe(this.scroller);
  }

  get visible() {
    return this.scroller.clientHeight / this.lineHeight;
  }

  get highestTop() {
    return Math.max(0, this.total - this.visible);
  }

  get isScaled() {
    return this.total * this.lineHeight > HIGHEST;
  }

  schedule(draw) {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      draw();
    });
  }

  follow() {
    this.isFollowing = true;
  }

  toLine(number, total) {
    this.total = total;
    this.isFollowing = false;
    this.top = Math.min(Math.max(0, number - this.visible / 3), this.highestTop);
  }

  // Fit the canvas to `total` lines and say which rows are wanted.
  place(total) {
    this.total = total;
    this.top = this.isFollowing ? this.highestTop : Math.min(this.top, this.highestTop);
    this.canvas.style.height = `${Math.min(total * this.lineHeight, HIGHEST)}px`;
    this.layer.style.height = `${this.scroller.clientHeight}px`;
    const first = Math.floor(this.top);
    return { first, last: Math.min(total, first + Math.ceil(this.visible) + 1) };
  }

  // Put the rows where they belong, now that they are there.
  settle() {
    const fits = this.rows.offsetHeight <= this.scroller.clientHeight;
    const sticksToEnd = this.isFollowing && !fits;
    const fraction = this.top - Math.floor(this.top);
    const firstHeight = this.rows.firstElementChild?.offsetHeight ?? this.lineHeight;
    this.rows.style.transform = sticksToEnd
      ? `translateY(${this.scroller.clientHeight - this.rows.offsetHeight}px)`
      : `translateY(${-fraction * firstHeight}px)`;
    const room = this.scroller.scrollHeight - this.scroller.clientHeight;
    const wanted = this.highestTop ? (this.top / this.highestTop) * room : 0;
    if (Math.abs(this.scroller.scrollTop - wanted) > 1) this.scroller.scrollTop = wanted;
    this.#set = this.scroller.scrollTop;
  }

  #moveTo(top) {
    this.top = Math.min(Math.max(0, top), this.highestTop);
    this.isFollowing = this.top >= this.highestTop - 0.1;
    this.changed();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    if (Math.abs(scrollTop - this.#set) <= 1) return;
    this.#set = scrollTop;
    const room = scrollHeight - clientHeight;
    this.#moveTo(room - scrollTop < 2 ? this.highestTop : (scrollTop / room) * this.highestTop);
  }

  // Where the bar is scaled, one notch of it would be many lines: move by lines instead.
  #wheeled(event) {
    if (!this.isScaled || event.ctrlKey || !event.deltaY) return;
    event.preventDefault();
    const unit = [1 / this.lineHeight, 1, this.visible][event.deltaMode];
    this.#moveTo(this.top + event.deltaY * unit);
  }

  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = {
      ArrowUp: -1,
      ArrowDown: 1,
      PageUp: 1 - this.visible,
      PageDown: this.visible - 1,
      Home: -this.total,
      End: this.total,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.#moveTo(this.top + moves[event.key]);
  }
}
