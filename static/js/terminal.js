// Turns one raw line of a log into styled runs of text, as a terminal would show it: carriage
// returns and backspaces overwrite, SGR sequences colour, everything else that controls is dropped.

const TOKENS =
  // eslint-disable-next-line no-control-regex
  /\x1b\[([0-9;:]*)([mK])|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[PX^_][^\x1b]*(?:\x1b\\)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0a-\x1f\x7f-\x9f]/g;
// eslint-disable-next-line no-control-regex
const CONTROLS = /[\x00-\x08\x0a-\x1f\x7f-\x9f]/;

const FLAGS = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "struck" };
const ENDS = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["struck"] };

export const PLAIN = Object.freeze({ fg: "", bg: "", flags: "", classes: "" });

function style(fg, bg, flags) {
  if (!fg && !bg && !flags) return PLAIN;
  const classes = [fg && `fg-${fg}`, bg && `bg-${bg}`, flags].filter(Boolean).join(" ");
  return { fg, bg, flags, classes };
}

// The nearest of the sixteen named colours, which follow the page's theme.
function nearest(red, green, blue) {
  const high = Math.max(red, green, blue);
  if (high < 64) return "0";
  if (high - Math.min(red, green, blue) < 40) return high > 200 ? "15" : high > 120 ? "7" : "8";
  const limit = high * 0.6;
  const hue = (red > limit ? 1 : 0) + (green > limit ? 2 : 0) + (blue > limit ? 4 : 0);
  return String(hue + (high > 200 ? 8 : 0));
}

function indexed(number) {
  if (number < 16) return String(number);
  if (number > 231) {
    const grey = 8 + (number - 232) * 10;
    return nearest(grey, grey, grey);
  }
  const level = (value) => (value ? 55 + value * 40 : 0);
  const cube = number - 16;
  return nearest(level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6));
}

// 38;5;N and 38;2;R;G;B: gives the colour and how many codes it took.
function extended(codes, at) {
  if (codes[at + 1] === 5) return [indexed(codes[at + 2] ?? 0), 2];
  if (codes[at + 1] === 2) return [nearest(...[2, 3, 4].map((i) => codes[at + i] ?? 0)), 4];
  return ["", 1];
}

export function applySgr(parameters, before) {
  const codes = parameters.split(/[;:]/).map((code) => Number(code) || 0);
  let { fg, bg } = before;
  const flags = new Set(before.flags.split(" ").filter(Boolean));
  for (let i = 0; i < codes.length; i += 1) {
    const code = codes[i];
    if (code === 0) {
      fg = bg = "";
      flags.clear();
    } else if (code in FLAGS) flags.add(FLAGS[code]);
    else if (code in ENDS) for (const flag of ENDS[code]) flags.delete(flag);
    else if (code === 39) fg = "";
    else if (code === 49) bg = "";
    else if (code >= 30 && code <= 37) fg = String(code - 30);
    else if (code >= 40 && code <= 47) bg = String(code - 40);
    else if (code >= 90 && code <= 97) fg = String(code - 82);
    else if (code >= 100 && code <= 107) bg = String(code - 92);
    else if (code === 38 || code === 48) {
      const [colour, taken] = extended(codes, i);
      if (code === 38) fg = colour;
      else bg = colour;
      i += taken;
    }
  }
  return style(fg, bg, [...flags].sort().join(" "));
}

// The style that a line leaves behind for the next one.
export function styleAfter(raw, before = PLAIN) {
  if (!raw.includes("\x1b[")) return before;
  let now = before;
  for (const [, parameters, final] of raw.matchAll(TOKENS))
    if (final === "m") now = applySgr(parameters, now);
  return now;
}

// Gives [{text, classes}], and the style left behind.
export function renderLine(raw, before = PLAIN) {
  if (!CONTROLS.test(raw))
    return { runs: raw ? [{ text: raw, classes: before.classes }] : [], after: before };
  const cells = [];
  let now = before;
  let column = 0;
  let at = 0;
  const write = (text) => {
    for (const letter of text) cells[column++] = [letter, now.classes];
  };
  for (const token of raw.matchAll(TOKENS)) {
    write(raw.slice(at, token.index));
    at = token.index + token[0].length;
    if (token[2] === "m") now = applySgr(token[1], now);
    else if (token[2] === "K") column = erase(cells, column, token[1]);
    else if (token[0] === "\r") column = 0;
    else if (token[0] === "\b") column = Math.max(0, column - 1);
  }
  write(raw.slice(at));
  return { runs: joined(cells), after: now };
}

function erase(cells, column, mode) {
  if (mode === "1") cells.fill([" ", ""], 0, Math.min(column + 1, cells.length));
  else if (mode === "2") cells.fill([" ", ""]);
  else cells.length = Math.min(column, cells.length);
  return column;
}

function joined(cells) {
  const runs = [];
  for (const [letter, classes] of Array.from(cells, (cell) => cell ?? [" ", ""])) {
    const last = runs.at(-1);
    if (last && last.classes === classes) last.text += letter;
    else runs.push({ text: letter, classes });
  }
  return runs;
}

export function plainText(raw) {
  return renderLine(raw).runs.map((run) => run.text).join("");
}
