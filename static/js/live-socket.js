// A websocket that comes back by itself, with growing, jittered pauses, from where it was.

const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 15_000;
const STEADY_MS = 5_000;
const NO_ACCESS = 1008;

export class LiveSocket extends EventTarget {
  #socket = null;
  #pause = FIRST_PAUSE_MS;
  #timer = 0;

  // `offsets` gives where each followed log goes on; it is asked at each connection.
  constructor(path, offsets = () => ({})) {
    super();
    this.path = path;
    this.offsets = offsets;
    this.isOver = false;
    addEventListener("online", () => this.#soon());
    addEventListener("pageshow", (event) => event.persisted && this.connect());
    document.addEventListener("visibilitychange", () => !document.hidden && this.#soon());
  }

  connect() {
    clearTimeout(this.#timer);
    this.#leave();
    const address = new URL(this.path, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const offsets = this.offsets();
    if (Object.keys(offsets).length) address.searchParams.set("offsets", JSON.stringify(offsets));
    const socket = new WebSocket(address);
    this.#socket = socket;
    this.#tell("connecting");
    let openedAt = 0;
    socket.onopen = () => {
      openedAt = Date.now();
      this.#tell("open");
    };
    socket.onmessage = (event) => {
      this.dispatchEvent(new CustomEvent("message", { detail: JSON.parse(event.data) }));
    };
    socket.onclose = (event) => {
      if (event.code === NO_ACCESS || event.code === 4403 || event.code === 4404) {
        this.isOver = true;
        this.#tell("refused");
        return;
      }
      if (openedAt && Date.now() - openedAt > STEADY_MS) this.#pause = FIRST_PAUSE_MS;
      const wait = this.#pause * (0.5 + Math.random());
      this.#pause = Math.min(this.#pause * 1.8, LONGEST_PAUSE_MS);
      this.#tell("waiting");
      this.#timer = setTimeout(() => this.connect(), wait);
    };
  }

  // Close without coming back.
  end() {
    this.isOver = true;
    clearTimeout(this.#timer);
    this.#leave();
  }

  #leave() {
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #soon() {
    if (this.isOver || !this.#socket || this.#socket.readyState <= WebSocket.OPEN) return;
    this.#pause = FIRST_PAUSE_MS;
    this.connect();
  }

  #tell(state) {
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}
