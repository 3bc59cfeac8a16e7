// The form that tries a service: widgets made from the signature, or the request as JSON.
import { inputWidget } from "./try-inputs.js";
import { bodyOf } from "./try-values.js";

const MOST_ROWS = 20;

function wordsOf({ dtype, shape }) {
  const lengths = shape?.map((length) => (length < 0 ? "any" : length)).join(" × ");
  return shape === null ? `${dtype}, any shape` : lengths ? `${dtype}, ${lengths}` : dtype;
}

export class TryForm {
  #rows = []; // [{element, widgets: Map(name -> widget)}]
  #isChanged = true;

  constructor(element) {
    this.element = element;
    this.form = element.querySelector("form");
    this.area = element.querySelector("textarea");
    this.note = element.querySelector("[data-try-note]");
    this.signatures = JSON.parse(document.getElementById("try-signatures").textContent);
    this.fields = element.querySelector("[data-try-fields]");
    this.list = document.createElement("div");
    this.list.className = "stack";
    this.add = Object.assign(document.createElement("button"), { type: "button", textContent: "Add a row" });
    this.add.className = "button button-small try-add";
    this.add.addEventListener("click", () => this.#addRow());
    this.fields.append(...this.#chooser(), this.list, this.add);
    this.#choose(this.signatures[0]);
    this.#wire();
    this.#show("form");
  }

  #chooser() {
    if (this.signatures.length < 2) return [];
    const field = document.createElement("div");
    field.className = "field";
    const select = document.createElement("select");
    select.setAttribute("aria-label", "Signature");
    for (const { name } of this.signatures) select.add(new Option(`Signature ${name}`, name));
    select.addEventListener("change", () => this.#choose(this.signatures[select.selectedIndex]));
    field.append(select);
    return [field];
  }

  #choose(signature) {
    this.signature = signature;
    this.#rows = [];
    this.list.replaceChildren();
    this.add.hidden = !signature.rows || signature.refused;
    this.form.querySelector("[type=submit]").disabled = signature.refused;
    this.#showNote();
    if (!signature.refused) this.#addRow();
  }

  #addRow() {
    const row = { element: document.createElement("fieldset"), widgets: new Map() };
    row.element.className = "try-row";
    row.legend = document.createElement("legend");
    const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "Remove" });
    remove.className = "button button-small try-remove";
    remove.addEventListener("click", () => {
      this.#rows = this.#rows.filter((other) => other !== row);
      row.element.remove();
      this.#number();
    });
    row.element.append(row.legend, remove);
    for (const input of this.signature.inputs) {
      const widget = inputWidget(input);
      const box = document.createElement("div");
      box.className = "field";
      const title = document.createElement("div");
      title.className = "label";
      const kind = Object.assign(document.createElement("span"), { className: "faint", textContent: wordsOf(input) });
      const name = Object.assign(document.createElement("code"), { textContent: input.name });
      title.append(name, " ", kind);
      box.append(title, widget.element);
      row.element.append(box);
      row.widgets.set(input.name, widget);
    }
    this.#rows.push(row);
    this.list.append(row.element);
    this.#number();
  }

  #number() {
    this.#isChanged = true;
    const isOne = this.#rows.length === 1;
    this.#rows.forEach(({ element, legend }, i) => {
      legend.textContent = `Row ${i + 1}`;
      legend.hidden = isOne;
      element.classList.toggle("is-only", isOne);
    });
    this.add.disabled = this.#rows.length >= MOST_ROWS;
  }

  // Write what the form holds into the request's text; tell whether all of it can be.
  #write() {
    if (!this.#isChanged || this.signature.refused) return true;
    const rows = [];
    let isFine = true;
    for (const { widgets } of this.#rows) {
      const row = {};
      for (const [name, widget] of widgets) {
        const { json, trouble } = widget.read();
        if (trouble) isFine = false;
        row[name] = json;
      }
      rows.push(row);
    }
    if (isFine) {
      this.area.value = bodyOf(this.signature, rows);
      this.#isChanged = false;
    }
    return isFine;
  }

  #wire() {
    this.fields.addEventListener("input", () => (this.#isChanged = true));
    this.fields.addEventListener("change", () => (this.#isChanged = true));
    for (const button of this.element.querySelectorAll("[data-try-mode]"))
      button.addEventListener("click", () => {
        if (button.dataset.tryMode === "json" && !this.#write()) this.form.reportValidity();
        this.#show(button.dataset.tryMode);
      });
    // Before htmx collects the fields.
    this.form.addEventListener(
      "submit",
      (event) => {
        if (this.mode === "json" || this.#write()) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        this.form.reportValidity();
      },
      true,
    );
  }

  #showNote() {
    const { note, refused } = this.signature;
    this.note.textContent = refused || this.mode === "json" ? note : "";
  }

  #show(mode) {
    this.mode = mode;
    this.fields.hidden = mode !== "form";
    this.element.querySelector("[data-try-json]").hidden = mode !== "json";
    this.#showNote();
    for (const button of this.element.querySelectorAll("[data-try-mode]"))
      button.setAttribute("aria-pressed", String(button.dataset.tryMode === mode));
  }
}
