// How far an upload is: a bar, bytes, speed and what is left.
import { sizeText } from "./sizes.js";

const SPEED_OVER_MS = 3000;

export class Progress {
  constructor(panel) {
    this.panel = panel;
    this.bar = panel.querySelector("progress");
    this.at = this.at.bind(this);
  }

  start(what, total) {
    this.panel.hidden = false;
    this.panel.querySelector("[data-progress-what]").textContent = what;
    this.total = total;
    this.seen = [{ when: performance.now(), done: 0 }];
    this.at(0);
  }

  at(done) {
    const now = performance.now();
    this.seen.push({ when: now, done });
    while (this.seen.length > 2 && now - this.seen[0].when > SPEED_OVER_MS) this.seen.shift();
    const [first] = this.seen;
    const speed = now > first.when ? ((done - first.done) * 1000) / (now - first.when) : 0;
    const shown = Math.min(done, this.total);
    this.bar.value = this.total > 0 ? shown / this.total : 1;
    const words = [`${sizeText(shown)} of ${sizeText(this.total)}`];
    if (speed > 0) words.push(`${sizeText(speed)}/s`);
    if (speed > 0 && shown < this.total) words.push(`${Math.ceil((this.total - shown) / speed)} s left`);
    this.panel.querySelector("[data-progress-words]").textContent = words.join(" · ");
  }

  end() {
    this.panel.hidden = true;
  }
}
