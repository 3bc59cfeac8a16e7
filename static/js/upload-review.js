// What is about to be sent, drawn so that nobody has to guess: kept, ignored, largest, secrets.

const ROWS_SHOWN = 500;
const UNITS = ["B", "KiB", "MiB", "GiB"];

export function sizeInWords(bytes) {
  let size = bytes;
  let power = 0;
  while (size >= 1024 && power < UNITS.length - 1) {
    size /= 1024;
    power += 1;
  }
  const digits = power === 0 || size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return `${size.toFixed(digits)} ${UNITS[power]}`;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

export class Review {
  #gone = new AbortController();

  // `plan` is what the server said of the files; `excluded` holds the paths a person left out.
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
    const title = make("h2", { id: "review-title" }, `${plural(kept.length, "file")}, ${sizeInWords(bytes)}`);
    const confirm = make(
      "button",
      { class: "button button-primary", type: "button", "data-confirm-upload": "" },
      this.action,
    );
    confirm.disabled = tooMuch || kept.length === 0;
    const body = make("div", { class: "card-body" });
    if (this.folder) body.append(make("p", { class: "soft small" }, `The top folder ${this.folder} was taken off every path.`));
    if (tooMuch) body.append(this.#problem());
    if (kept.length > this.plan.limits.max_added_files) body.append(this.#manyFiles());
    if (this.plan.secrets.length > 0) body.append(this.#secrets());
    body.append(this.#group("kept", `${plural(kept.length, "file")} to use`, this.plan.kept.map((file) => this.#file(file)), open));
    body.append(this.#ignored(open));
    body.append(this.#group("largest", "The largest", this.plan.largest.map((file) => this.#file(file)), open));
    this.section.replaceChildren(
      make("div", { class: "card-head" }, title),
      body,
      make("div", { class: "card-foot" }, confirm),
    );
  }

  #problem() {
    const words = this.plan.problem || "The files are more than the team allows. Leave some out.";
    return make("div", { class: "notice notice-bad", role: "alert" }, make("div", {}, make("p", {}, words)));
  }

  #manyFiles() {
    const limit = this.plan.limits.max_added_files.toLocaleString("en");
    const words = `At most ${limit} files may be new or changed in one upload; files sent before do not count.`;
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
        make("p", { class: "strong" }, "These look like secrets. Everyone in the team can read what is sent."),
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
    return this.#row(path, sizeInWords(size));
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
        isOut ? "Left out" : "Leave out",
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
