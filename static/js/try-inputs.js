// One widget for each kind of input of a model. Each gives its element and reads to JSON text.
import { serializedExample } from "./try-example.js";
import { ImageInput } from "./try-image.js";
import { base64, nested, readJson, readNumber, zeros } from "./try-values.js";

let made = 0;

function field(words) {
  const box = document.createElement("div");
  box.className = "field";
  const input = Object.assign(document.createElement("input"), { id: `try-${(made += 1)}` });
  input.setAttribute("aria-label", words);
  box.append(input);
  return { box, input };
}

// A problem of a widget, shown by the browser where it is.
function checked(element, result) {
  element.setCustomValidity(result.trouble ?? "");
  return result;
}

class Cells {
  constructor(input, makeCell) {
    this.shape = input.shape;
    const count = input.shape.reduce((product, length) => product * length, 1);
    this.cells = Array.from({ length: count }, (_, i) => makeCell(input, count === 1 ? input.name : `${input.name} ${i}`));
    this.element = document.createElement("div");
    this.element.className = count === 1 ? "try-cells is-single" : "try-cells";
    this.element.append(...this.cells.map((cell) => cell.element));
  }

  read() {
    const results = this.cells.map((cell) => cell.read());
    if (results.some(({ trouble }) => trouble)) return { trouble: true };
    return { json: nested(results.map(({ json }) => json), this.shape) };
  }
}

function numberCell(input, words) {
  const { box, input: element } = field(words);
  Object.assign(element, { type: "text", inputMode: input.range ? "numeric" : "decimal", value: input.value });
  element.addEventListener("input", () => checked(element, readNumber(element.value, input)));
  return { element: box, read: () => checked(element, readNumber(element.value, input)) };
}

function boolCell(_, words) {
  const element = document.createElement("label");
  element.className = "check";
  const box = Object.assign(document.createElement("input"), { type: "checkbox" });
  box.setAttribute("aria-label", words);
  const word = Object.assign(document.createElement("span"), { textContent: "false" });
  box.addEventListener("change", () => (word.textContent = String(box.checked)));
  element.append(box, word);
  return { element, read: () => ({ json: String(box.checked) }) };
}

function fileButton(words, taken) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: words });
  button.className = "button button-small";
  const file = Object.assign(document.createElement("input"), { type: "file" });
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (chosen) taken(chosen.name, new Uint8Array(await chosen.arrayBuffer()));
  });
  button.addEventListener("click", () => file.click());
  return button;
}

// A text, or the bytes of a file, which travel as {"b64": …}.
function textCell(input, words) {
  const { box, input: element } = field(words);
  Object.assign(element, { type: "text", value: input.value });
  let bytes = null;
  const button = fileButton("Use a file", (name, content) => {
    bytes = content;
    element.value = `${name}, ${content.length.toLocaleString("en")} bytes`;
    element.readOnly = true;
    clear.hidden = false;
    element.dispatchEvent(new Event("input", { bubbles: true }));
  });
  const clear = Object.assign(document.createElement("button"), { type: "button", textContent: "Enter text", hidden: true });
  clear.className = "button button-small";
  clear.addEventListener("click", () => {
    bytes = null;
    clear.hidden = true;
    Object.assign(element, { readOnly: false, value: "" });
    element.focus();
  });
  box.className = "field try-text";
  box.append(button, clear);
  const read = () => ({ json: bytes ? `{"b64": "${base64(bytes)}"}` : JSON.stringify(element.value) });
  return { element: box, read };
}

class JsonInput {
  constructor(input) {
    this.element = document.createElement("div");
    this.element.className = "field";
    this.area = document.createElement("textarea");
    this.area.className = "mono";
    this.area.rows = 4;
    this.area.spellcheck = false;
    this.area.setAttribute("aria-label", `${input.name} as JSON`);
    const value = input.dtype === "string" ? JSON.stringify(input.value) : input.dtype === "bool" ? "false" : input.value;
    this.area.value = zeros(input.shape, value);
    this.area.addEventListener("input", () => this.read());
    this.element.append(this.area);
  }

  read() {
    return checked(this.area, readJson(this.area.value));
  }
}

const KINDS = ["decimal numbers", "whole numbers", "texts"];

// A tf.Example: features by name, serialized as the model's parser expects them.
class ExampleInput {
  constructor() {
    this.element = document.createElement("div");
    this.element.className = "stack stack-tight";
    this.features = document.createElement("div");
    this.features.className = "stack stack-tight";
    const add = Object.assign(document.createElement("button"), { type: "button", textContent: "Add a feature" });
    add.className = "button button-small try-add";
    add.addEventListener("click", () => this.add());
    this.element.append(this.features, add);
    this.add();
  }

  add() {
    const row = document.createElement("div");
    row.className = "try-feature";
    const input = (words) => {
      const made = Object.assign(document.createElement("input"), { className: "input", placeholder: words });
      made.setAttribute("aria-label", words);
      return made;
    };
    const kind = Object.assign(document.createElement("select"), { className: "input" });
    kind.setAttribute("aria-label", "Kind of values");
    for (const words of KINDS) kind.add(new Option(words));
    const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "Remove" });
    remove.className = "button button-small";
    remove.addEventListener("click", () => {
      row.remove();
      this.element.dispatchEvent(new Event("input", { bubbles: true }));
    });
    row.append(input("Feature"), kind, input("Values, comma-separated"), remove);
    this.features.append(row);
  }

  read() {
    const features = [];
    for (const row of this.features.children) {
      const [name, kind, values] = row.children;
      const texts = values.value.split(",").map((text) => text.trim());
      if (!name.value) continue;
      const read = { range: kind.selectedIndex === 1 ? ["-9223372036854775808", "9223372036854775807"] : null };
      const troubles = kind.selectedIndex === 2 ? [] : texts.map((text) => readNumber(text, read).trouble);
      const trouble = troubles.find(Boolean);
      checked(values, { trouble });
      if (trouble) return { trouble };
      features.push({ name: name.value, kind: kind.selectedIndex, values: texts });
    }
    return { json: `{"b64": "${base64(serializedExample(features))}"}` };
  }
}

export function inputWidget(input) {
  switch (input.widget) {
    case "image":
      return new ImageInput(input);
    case "number":
      return new Cells(input, numberCell);
    case "bool":
      return new Cells(input, boolCell);
    case "text":
      return new Cells(input, textCell);
    case "example":
      return new ExampleInput();
    default:
      return new JsonInput(input);
  }
}
