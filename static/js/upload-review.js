// The review of an upload: files that are included, ignored, largest, or look like secrets.

import { sizeText } from "./sizes.js";

const ROWS_SHOWN = 500;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

export class Review {
  #gone = new AbortController();

  // `plan` is what the server said of the files; `excluded` holds the paths that the user excluded.
  constructor(section, plan, { action, folder, onConfirm }) {
    this.section = section;
    this.plan = plan;
    this.excluded = new Set();
    this.action = action;
    this.folder = folder;
    this.onConfirm = onConfirm;
    section.addEventListener("click", (event) => this.#clicked(event), { signal: this.#gone.signal });
    this.draw();
    section.hidden = false;
    section.focus();
  }

  close() {
    this.#gone.abort();
    this.section.hidden = true;
    this.section.replaceChildren();
  }

  get kept() {
    return this.plan.kept.filter(({ path }) => !this.excluded.has(path));
  }

  // What a run may miss, each with the reason why it is not sent.
  get ignoredSources() {
    const byHand = [...this.excluded].map((path) => ({ path, rule: "the choice in the upload's review" }));
    return [...this.plan.ignored_sources, ...byHand];
  }

  #clicked(event) {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.confirmUpload !== undefined) {
      button.disabled = true;
      this.onConfirm();
    }
    const path = button.dataset.exclude;
    if (path === undefined) return;
    if (!this.excluded.delete(path)) this.excluded.add(path);
    this.draw();
    this.section.querySelector(`[data-exclude="${CSS.escape(path)}"]`)?.focus();
  }

  draw() {
    const open = new Set(
      [...this.section.querySelectorAll("details[open]")].map((group) => group.dataset.group),
    );
    const { kept } = this;
    const bytes = kept.reduce((sum, { size }) => sum + size, 0);
    const tooMuch = bytes > this.plan.limits.max_bytes;
    const title = make("h2", { id: "review-title" }, `${plural(kept.length, "file")}, ${sizeText(bytes)}`);
    const confirm = make(
      "button",
      { class: "button button-primary", type: "button", "data-confirm-upload": "" },
      this.action,
    );
    confirm.disabled = tooMuch || kept.length === 0;
    const body = make("div", { class: "card-body" });
    if (this.folder) body.append(make("p", { class: "soft small" }, `The top-level folder ${this.folder} was removed from all paths.`));
    if (tooMuch) body.append(this.#problem());
    if (kept.length > this.plan.limits.max_added_files) body.append(this.#manyFiles());
    if (this.plan.secrets.length > 0) body.append(this.#secrets());
    body.append(this.#group("kept", `${plural(kept.length, "file")} included`, this.plan.kept.map((file) => this.#file(file)), open));
    body.append(this.#ignored(open));
    body.append(this.#group("largest", "Largest files", this.plan.largest.map((file) => this.#file(file)), open));
    this.section.replaceChildren(
      make("div", { class: "card-head" }, title),
      body,
      make("div", { class: "card-foot" }, confirm),
    );
  }

  #problem() {
    const words = this.plan.problem || "The files exceed the team's limits. Exclude some.";
    return make("div", { class: "notice notice-bad", role: "alert" }, make("div", {}, make("p", {}, words)));
  }

  #manyFiles() {
    const limit = this.plan.limits.max_added_files.toLocaleString("en");
    const words = `At most ${limit} files may be new or changed in one upload; files already uploaded do not count.`;
    return make("div", { class: "notice" }, make("div", {}, make("p", {}, words)));
  }

  #secrets() {
    const rows = this.plan.secrets.map(({ path, why }) => this.#row(path, why));
    return make(
      "div",
      { class: "notice notice-warn" },
      make(
        "div",
        {},
        make("p", { class: "strong" }, "These look like secrets. Everyone in the team can read uploaded files."),
        make("ul", { class: "review-list" }, ...rows),
      ),
    );
  }

  #ignored(open) {
    const rows = this.plan.ignored.map(({ path, rule }) =>
      make(
        "li",
        {},
        make("span", { class: "grow mono truncate", title: path }, path),
        make("span", { class: "soft tiny" }, rule),
      ),
    );
    const count = this.plan.ignored_count;
    return this.#group("ignored", `${plural(count, "file")} ignored`, rows, open, count);
  }

  #file({ path, size }) {
    return this.#row(path, sizeText(size));
  }

  #row(path, words) {
    const isOut = this.excluded.has(path);
    return make(
      "li",
      isOut ? { class: "is-left-out" } : {},
      make("span", { class: "grow mono truncate", title: path }, path),
      make("span", { class: "soft tiny number" }, words),
      make(
        "button",
        { class: "button button-small", type: "button", "data-exclude": path, "aria-pressed": String(isOut) },
        isOut ? "Excluded" : "Exclude",
      ),
    );
  }

  #group(name, title, rows, open, total = rows.length) {
    const shown = rows.slice(0, ROWS_SHOWN);
    if (total > shown.length) shown.push(make("li", { class: "soft" }, `and ${plural(total - shown.length, "more file")}`));
    const group = make("details", { class: "review-group", "data-group": name }, make("summary", {}, title));
    group.open = open.has(name);
    if (shown.length > 0) group.append(make("ul", { class: "review-list" }, ...shown));
    return group;
  }
}
