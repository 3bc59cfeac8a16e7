// The first page of a new run: choose files, see what is sent, send it, go on to the form.
import { fromDrop, fromInput } from "./upload-files.js";
import { Progress } from "./upload-progress.js";
import { Review } from "./upload-review.js";
import { Api, Refusal, sendArchive, sendFiles } from "./upload-send.js";

const IGNORE_FILES = [".amlignore", ".gitignore"];

class Upload {
  constructor(root) {
    this.root = root;
    this.zone = root.querySelector("[data-drop]");
    this.trouble = root.querySelector("[data-trouble]");
    this.neverSent = new Set(root.dataset.neverSent.split(" "));
    this.progress = new Progress(root.querySelector("[data-progress]"));
    this.zone.hidden = false;
    this.#wire();
  }

  #wire() {
    for (const type of ["dragenter", "dragover"])
      addEventListener(type, (event) => {
        event.preventDefault();
        this.zone.classList.add("is-over");
      });
    addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) this.zone.classList.remove("is-over");
    });
    addEventListener("drop", (event) => {
      event.preventDefault();
      this.zone.classList.remove("is-over");
      this.#take(fromDrop(event.dataTransfer, this.neverSent));
    });
    this.root.addEventListener("click", (event) => {
      const choice = event.target.closest("[data-choose]");
      if (choice) this.root.querySelector(`[data-input="${choice.dataset.choose}"]`).click();
      if (event.target.closest("[data-cancel]")) this.abort?.abort(new Refusal("Upload canceled. No snapshot was created."));
    });
    this.root.querySelector('[data-input="folder"]').addEventListener("change", ({ target }) => {
      if (target.files.length > 0) this.#take(fromInput(target.files, this.neverSent));
      target.value = "";
    });
    this.root.querySelector('[data-input="archive"]').addEventListener("change", ({ target }) => {
      if (target.files.length > 0) this.#take({ archive: target.files[0] });
      target.value = "";
    });
  }

  async #take(coming) {
    this.abort?.abort(new Refusal("Other files were chosen."));
    this.abort = new AbortController();
    const api = new Api(this.root.dataset.api, this.abort.signal);
    this.review?.close();
    await this.#carefully(api, async () => {
      const chosen = await coming;
      if (chosen.archive) await this.#takeArchive(api, chosen.archive);
      else await this.#takeFiles(api, chosen);
    });
  }

  async #takeFiles(api, { name, files }) {
    if (files.length === 0) throw new Refusal("Your selection contains no files.");
    const plan = await api.json("plan", {
      files: files.map(({ path, file }) => ({ path, size: file?.size ?? 0 })),
      ignore: await ignoreFileOf(files),
    });
    const fileOf = new Map(files.map(({ path, file }) => [path, file]));
    this.#show(plan, {
      action: "Use these files",
      onConfirm: () =>
        this.#carefully(api, async () => {
          const entries = this.review.kept.map(({ path }) => ({ path, file: fileOf.get(path) }));
          await this.#finish(api, await sendFiles(api, entries, this.progress), name);
        }),
    });
  }

  async #takeArchive(api, archive) {
    const answer = await sendArchive(api, archive, this.progress);
    const name = answer.folder.slice(0, -1) || archive.name.replace(/\.(zip|tar|tar\.gz|tgz)$/i, "");
    this.#show(answer.plan, {
      action: "Use these files",
      folder: answer.folder,
      onConfirm: () =>
        this.#carefully(api, async () => {
          const kept = new Set(this.review.kept.map(({ path }) => path));
          await this.#finish(api, answer.files.filter(({ path }) => kept.has(path)), name);
        }),
    });
  }

  #show(plan, options) {
    this.zone.classList.add("is-small");
    this.review = new Review(this.root.querySelector("[data-review]"), plan, options);
  }

  async #finish(api, files, name) {
    const { digest } = await api.json("snapshots", { files, ignored: this.review.ignoredSources });
    const next = new URL(this.root.dataset.next, location.href);
    next.searchParams.set("snapshot", digest);
    if (name) next.searchParams.set("name", name);
    location.assign(next);
  }

  // Nothing fails silently: the reason is shown, and the person can go on from where it was.
  async #carefully(api, work) {
    this.trouble.replaceChildren();
    try {
      await work();
    } catch (error) {
      if (api.signal !== this.abort.signal) return;
      this.#say(error);
      if (api.signal.aborted) this.review?.close();
      else this.review?.draw();
    } finally {
      if (api.signal === this.abort.signal) this.progress.end();
    }
  }

  #say(error) {
    const words = document.createElement("div");
    words.append(Object.assign(document.createElement("p"), { textContent: error.message }));
    if (error.errors?.length > 1) {
      const list = Object.assign(document.createElement("ul"), { className: "plain-list small mono" });
      for (const { field, message } of error.errors)
        list.append(Object.assign(document.createElement("li"), { textContent: `${field}: ${message}` }));
      words.append(list);
    }
    const box = Object.assign(document.createElement("div"), { className: "notice notice-bad" });
    box.append(words);
    this.trouble.replaceChildren(box);
    box.scrollIntoView({ block: "nearest" });
  }
}

// As the server reads the same file in an archive: by its byte order mark.
function textOf(buffer) {
  const [first, second] = new Uint8Array(buffer);
  if (first === 0xff && second === 0xfe) return new TextDecoder("utf-16le").decode(buffer);
  if (first === 0xfe && second === 0xff) return new TextDecoder("utf-16be").decode(buffer);
  return new TextDecoder().decode(buffer);
}

async function ignoreFileOf(files) {
  for (const name of IGNORE_FILES) {
    const found = files.find(({ path }) => path === name);
    if (found) return { name, text: textOf(await found.file.arrayBuffer()) };
  }
  return null;
}

new Upload(document.querySelector("[data-upload]"));
