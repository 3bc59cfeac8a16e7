// Numbers of bytes as people read them: decimal units, so 1 GB is 10^9 bytes.

const UNITS = ["B", "kB", "MB", "GB", "TB"];

export function sizeText(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  let size = bytes;
  let power = 0;
  for (; size >= 1000 && power < UNITS.length - 1; power += 1) size /= 1000;
  return `${size.toFixed(power === 0 || size >= 100 ? 0 : size >= 10 ? 1 : 2)} ${UNITS[power]}`;
}
