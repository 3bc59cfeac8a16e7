// An image to draw or drop, scaled to the shape that a model takes.
import { nested } from "./try-values.js";

const RANGES = {
  "0 to 1": (byte) => (byte / 255).toFixed(4).replace(/\.?0+$/, ""),
  "0 to 255": (byte) => String(byte),
  "-1 to 1": (byte) => (byte / 127.5 - 1).toFixed(4).replace(/\.?0+$/, ""),
};

export class ImageInput {
  #isDrawing = false;

  constructor({ shape, range, name }) {
    [this.height, this.width] = shape;
    this.shape = shape;
    this.channels = shape[2] ?? 1;
    this.canvas = Object.assign(document.createElement("canvas"), { width: this.width, height: this.height });
    this.canvas.className = "try-canvas";
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `Image for ${name}: draw here, or drop an image`);
    this.pen = this.canvas.getContext("2d", { willReadFrequently: true });
    this.clear();
    this.#wireDrawing();
    this.element = document.createElement("div");
    this.element.className = "try-image";
    this.element.append(this.canvas, this.#controls(range));
    this.#wireDrops();
  }

  clear() {
    this.pen.fillStyle = "#000";
    this.pen.fillRect(0, 0, this.width, this.height);
    this.#changed();
  }

  invert() {
    const image = this.pen.getImageData(0, 0, this.width, this.height);
    for (let i = 0; i < image.data.length; i += 1) if (i % 4 !== 3) image.data[i] = 255 - image.data[i];
    this.pen.putImageData(image, 0, 0);
    this.#changed();
  }

  async show(file) {
    this.help.textContent = "";
    let picture;
    try {
      picture = await createImageBitmap(file);
    } catch {
      this.help.textContent = `${file.name} is not an image this browser can read.`;
      return;
    }
    // Halved step by step: one large step would skip most of the pixels.
    let source = picture;
    let [across, down] = [picture.width, picture.height];
    while (across > 2 * this.width && down > 2 * this.height) {
      [across, down] = [Math.ceil(across / 2), Math.ceil(down / 2)];
      const half = new OffscreenCanvas(across, down);
      half.getContext("2d").drawImage(source, 0, 0, across, down);
      source = half;
    }
    this.pen.fillStyle = "#fff";
    this.pen.fillRect(0, 0, this.width, this.height);
    this.pen.drawImage(source, 0, 0, this.width, this.height);
    this.help.textContent = `${file.name}, scaled from ${picture.width} × ${picture.height} to ${this.width} × ${this.height}.`;
    this.#changed();
  }

  read() {
    const { data } = this.pen.getImageData(0, 0, this.width, this.height);
    const write = RANGES[this.values.value];
    const values = [];
    for (let i = 0; i < data.length; i += 4) {
      const colours = [data[i], data[i + 1], data[i + 2]];
      if (this.channels === 3) values.push(...colours.map(write));
      else values.push(write(Math.round(0.299 * colours[0] + 0.587 * colours[1] + 0.114 * colours[2])));
    }
    return { json: nested(values, this.shape) };
  }

  #changed() {
    this.canvas.dispatchEvent(new Event("input", { bubbles: true }));
  }

  #controls(range) {
    const controls = document.createElement("div");
    controls.className = "try-image-controls";
    this.values = document.createElement("select");
    this.values.className = "input input-small";
    this.values.setAttribute("aria-label", "Values of the pixels");
    for (const words of Object.keys(RANGES))
      if (!range || words === "0 to 255") this.values.add(new Option(`Values ${words}`, words));
    const button = (words, act) => {
      const made = Object.assign(document.createElement("button"), { type: "button", textContent: words });
      made.className = "button button-small";
      made.addEventListener("click", act);
      return made;
    };
    this.file = Object.assign(document.createElement("input"), { type: "file", accept: "image/*", hidden: true });
    this.file.addEventListener("change", () => this.file.files[0] && this.show(this.file.files[0]));
    this.help = Object.assign(document.createElement("p"), { className: "help" });
    this.help.textContent = `Draw, or drop an image: ${this.width} × ${this.height}, ${this.channels === 3 ? "RGB" : "grayscale"}.`;
    controls.append(
      this.values,
      button("Clear", () => this.clear()),
      button("Invert", () => this.invert()),
      button("Choose an image", () => this.file.click()),
      this.file,
      this.help,
    );
    return controls;
  }

  #wireDrawing() {
    const { canvas, pen } = this;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [
        ((event.clientX - box.left) / box.width) * this.width,
        ((event.clientY - box.top) / box.height) * this.height,
      ];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#isDrawing = true;
      Object.assign(pen, { strokeStyle: "#fff", lineCap: "round", lineJoin: "round", lineWidth: this.width / 13 });
      const [x, y] = place(event);
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(x + 0.01, y);
      pen.stroke();
      this.#changed();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.#isDrawing) return;
      for (const one of event.getCoalescedEvents?.() ?? [event]) pen.lineTo(...place(one));
      pen.stroke();
      this.#changed();
    });
    for (const type of ["pointerup", "pointercancel"])
      canvas.addEventListener(type, () => (this.#isDrawing = false));
  }

  #wireDrops() {
    const { element } = this;
    element.addEventListener("dragover", (event) => {
      event.preventDefault();
      element.classList.add("is-over");
    });
    element.addEventListener("dragleave", () => element.classList.remove("is-over"));
    element.addEventListener("drop", (event) => {
      event.preventDefault();
      element.classList.remove("is-over");
      const [file] = event.dataTransfer.files;
      if (file) this.show(file);
    });
  }
}
