// What genmnist/explorer/packing.py packed into text: bytes gzipped, some parted by parity, in 85 letters.

const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%.()*+-;,=>?@^_`{|}~";
const VALUES = new Uint8Array(128);
[...LETTERS].forEach((letter, value) => (VALUES[letter.charCodeAt(0)] = value));

/**
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function decode85(text) {
  const groups = Math.ceil(text.length / 5), missing = 5 * groups - text.length;
  const bytes = new Uint8Array(4 * groups), view = new DataView(bytes.buffer);
  for (let group = 0, place = 0; group < groups; group++) {
    let word = 0;
    for (let k = 0; k < 5; k++, place++) word = word * 85 + (place < text.length ? VALUES[text.charCodeAt(place)] : 84);
    view.setUint32(4 * group, word);
  }
  return bytes.subarray(0, bytes.length - missing);
}

/**
 * @param {string} text
 * @returns {Promise<Uint8Array<ArrayBuffer>>} the bytes that were packed
 */
export async function unpack(text) {
  const pressed = decode85(text.trim());
  const stream = new Blob([pressed.subarray(1)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const found = new Uint8Array(await new Response(stream).arrayBuffer());
  if (!pressed[0]) return found;
  const bytes = new Uint8Array(found.length), half = Math.ceil(found.length / 2);
  for (let k = 0; k < half; k++) bytes[2 * k] = found[k];
  for (let k = half; k < found.length; k++) bytes[2 * (k - half) + 1] = found[k];
  return bytes;
}
