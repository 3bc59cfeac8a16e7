// Serializes a tf.Example: just as much of protocol buffers as that message needs.
const BYTES_LIST = 1;
const FLOAT_LIST = 2;
const INT64_LIST = 3;
const words = new TextEncoder();

function varint(value) {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes = [];
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  return [...bytes, Number(rest)];
}

// A field that holds bytes: its number, its length, and they.
function held(number, bytes) {
  return [(number << 3) | 2, ...varint(bytes.length), ...bytes];
}

function floats(values) {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => view.setFloat32(4 * i, Number(value), true));
  return [...new Uint8Array(view.buffer)];
}

function feature(kind, values) {
  switch (kind) {
    case 0:
      return held(FLOAT_LIST, held(1, floats(values)));
    case 1:
      return held(INT64_LIST, held(1, values.flatMap(varint)));
    default:
      return held(BYTES_LIST, values.flatMap((value) => held(1, [...words.encode(value)])));
  }
}

// `features`: [{name, kind (0 floats, 1 whole numbers, 2 texts), values: [text]}]
export function serializedExample(features) {
  const entries = features.flatMap(({ name, kind, values }) =>
    held(1, [...held(1, [...words.encode(name)]), ...held(2, feature(kind, values))]),
  );
  return Uint8Array.from(held(1, entries));
}
