// Values as JSON text. Text, not numbers: an int64 may be beyond what JavaScript's numbers hold.

const WHOLE = /^[+-]?\d+$/;
const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const ODD = new Map([["nan", "NaN"], ["infinity", "Infinity"], ["inf", "Infinity"], ["-infinity", "-Infinity"], ["-inf", "-Infinity"]]);

// Give {json} of what was written for a number of a type, or {trouble} in words.
export function readNumber(text, { range }) {
  const trimmed = text.trim();
  if (range) {
    if (!WHOLE.test(trimmed)) return { trouble: "Use a whole number." };
    const number = BigInt(trimmed.replace(/^\+/, ""));
    if (number < BigInt(range[0]) || number > BigInt(range[1]))
      return { trouble: `Use a whole number from ${range[0]} to ${range[1]}.` };
    return { json: number.toString() };
  }
  const odd = ODD.get(trimmed.toLowerCase());
  if (odd) return { json: odd };
  if (!DECIMAL.test(trimmed)) return { trouble: "Use a number, NaN, Infinity or -Infinity." };
  const number = Number(trimmed);
  return { json: Number.isFinite(number) ? String(number) : trimmed.startsWith("-") ? "-Infinity" : "Infinity" };
}

export function readJson(text) {
  try {
    // Words for numbers that JSON lacks are what TensorFlow Serving takes.
    JSON.parse(text.replace(/-?\b(NaN|Infinity)\b/g, "0"));
    return { json: text.trim() };
  } catch (error) {
    return { trouble: `This is not JSON: ${error.message}.` };
  }
}

// Lay values, each JSON text, out in the lists that a shape asks for.
export function nested(values, shape) {
  if (!shape.length) return values[0];
  const [length, ...rest] = shape;
  const size = values.length / length;
  const parts = Array.from({ length }, (_, i) => nested(values.slice(i * size, (i + 1) * size), rest));
  return `[${parts.join(", ")}]`;
}

export function zeros(shape, value) {
  const lengths = (shape ?? []).map((length) => Math.max(length, 1));
  const count = lengths.reduce((product, length) => product * length, 1);
  return nested(Array(count).fill(value), lengths);
}

export function base64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

// The body of a predict request: rows of {name: JSON text}.
export function bodyOf(signature, rows) {
  const parts = [];
  if (signature.name !== "serving_default") parts.push(`  "signature_name": ${JSON.stringify(signature.name)}`);
  const written = rows.map((row) => {
    const entries = Object.entries(row);
    if (entries.length === 1) return entries[0][1];
    return `{${entries.map(([name, json]) => `${JSON.stringify(name)}: ${json}`).join(", ")}}`;
  });
  if (signature.rows) parts.push(`  "instances": [\n    ${written.join(",\n    ")}\n  ]`);
  else parts.push(`  "inputs": ${written[0]}`);
  return `{\n${parts.join(",\n")}\n}`;
}
