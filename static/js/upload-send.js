// Bring files to the server: digests first, then only what it does not have, in large requests.

const BATCH_BYTES = 8 * 1024 * 1024;
const BATCH_FILES = 500;
const HASHES_AT_ONCE = 4;
const PAUSES = [500, 2000, 5000];

// What the server answered instead of yes: its sentence, and one for each field.
export class Refusal extends Error {
  constructor(detail, errors = []) {
    super(detail);
    this.errors = errors;
  }
}

export class Api {
  constructor(base, signal) {
    this.base = base;
    this.signal = signal;
  }

  json(what, data) {
    return this.send(what, JSON.stringify(data), "application/json");
  }

  // Sending a file twice does no harm, so a lost connection is simply tried again.
  async send(what, body, type = "application/octet-stream", onProgress = () => {}) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#once(what, body, type, onProgress);
      } catch (error) {
        if (!(error instanceof TypeError) || attempt === PAUSES.length) throw error;
        onProgress(0);
        await new Promise((resolve) => setTimeout(resolve, PAUSES[attempt]));
        this.signal.throwIfAborted();
      }
    }
  }

  // Only XMLHttpRequest tells how much of a body is on its way.
  #once(what, body, type, onProgress) {
    return new Promise((resolve, reject) => {
      this.signal.throwIfAborted();
      const request = new XMLHttpRequest();
      const stop = () => request.abort();
      this.signal.addEventListener("abort", stop, { once: true });
      request.open("POST", this.base + what);
      request.setRequestHeader("Content-Type", type);
      request.setRequestHeader("X-CSRFToken", document.body.dataset.csrfToken);
      request.responseType = "json";
      request.upload.addEventListener("progress", (event) => onProgress(event.loaded));
      request.addEventListener("loadend", () => this.signal.removeEventListener("abort", stop));
      request.addEventListener("load", () => {
        const answer = request.response;
        if (request.status < 300) resolve(answer);
        else if (request.status === 502 || request.status === 503) reject(new TypeError());
        else reject(new Refusal(answer?.detail ?? `The server responded with status ${request.status}.`, answer?.errors));
      });
      request.addEventListener("abort", () => reject(this.signal.reason));
      request.addEventListener("error", () =>
        reject(new TypeError("The server is unreachable, or a file changed while it was read.")),
      );
      request.send(body);
    });
  }
}

async function digestOf(file) {
  let content;
  try {
    content = await file.arrayBuffer();
  } catch {
    throw new Error(`${file.name} cannot be read. It may have been changed or removed: choose the folder again.`);
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function withDigests(entries, signal, onProgress) {
  const waiting = entries.map((entry, place) => ({ entry, place }));
  const known = new Array(entries.length);
  let done = 0;
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      signal.throwIfAborted();
      const { path, file } = next.entry;
      known[next.place] = { path, size: file.size, digest: await digestOf(file), file };
      done += file.size;
      onProgress(done);
    }
  };
  await Promise.all(Array.from({ length: HASHES_AT_ONCE }, work));
  return known;
}

function* batchesOf(entries) {
  let batch = [];
  let bytes = 0;
  for (const entry of entries) {
    if (batch.length > 0 && (bytes + entry.file.size > BATCH_BYTES || batch.length === BATCH_FILES)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(entry);
    bytes += entry.file.size;
  }
  if (batch.length > 0) yield batch;
}

function bodyOf(batch) {
  const index = batch.map(({ path, file, digest }) => ({ path, size: file.size, digest }));
  const encoded = new TextEncoder().encode(JSON.stringify(index));
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, encoded.length);
  return new Blob([length, encoded, ...batch.map(({ file }) => file)]);
}

async function sendAll(api, entries, onProgress) {
  const stored = [];
  let sent = 0;
  for (const batch of batchesOf(entries)) {
    const body = bodyOf(batch);
    const answer = await api.send("blobs", body, undefined, (loaded) => onProgress(sent + loaded));
    sent += body.size;
    onProgress(sent);
    stored.push(...answer.files);
  }
  return stored;
}

// Give the manifest of the files, all of them stored. Without https (and not on this machine) a
// browser cannot hash; then everything is sent and the server says the digests.
export async function sendFiles(api, entries, progress) {
  const total = entries.reduce((sum, { file }) => sum + file.size, 0);
  if (!globalThis.crypto?.subtle) {
    progress.start("Sending the files", total);
    return sendAll(api, entries, progress.at);
  }
  progress.start("Reading the files", total);
  const known = await withDigests(entries, api.signal, progress.at);
  const files = known.map(({ path, size, digest }) => ({ path, size, digest }));
  const missing = new Set((await api.json("missing", { files })).missing);
  // Files with the same content are sent once.
  const wanted = known.filter(({ digest }) => missing.delete(digest));
  if (wanted.length > 0) {
    progress.start(
      `Sending ${wanted.length} of ${known.length} files; the others are already stored`,
      wanted.reduce((sum, { size }) => sum + size, 0),
    );
    await sendAll(api, wanted, progress.at);
  }
  return files;
}

export async function sendArchive(api, file, progress) {
  progress.start(`Sending ${file.name}`, file.size);
  const what = `archives?filename=${encodeURIComponent(file.name)}`;
  const answer = await api.send(what, file, undefined, progress.at);
  return answer;
}
