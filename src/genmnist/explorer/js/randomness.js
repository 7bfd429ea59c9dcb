// The noise of genmnist/randomness.py: noise for sample k depends on the seed and on k alone, here as in Python.

const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57];
const WEYL = [0x9e3779b9, 0xbb67ae85];

const IV = [
  0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
];
const SIGMA = [
  "0123456789abcdef", "ea489fd61c02b753", "b8c052fdae367194", "7931dcbe265a40f8", "905724afe1bc683d",
  "2c6a0b834d75fe19", "c51fed4a0763928b", "db7ec13950f4862a", "6fe9b308c2d714a5", "a2847615fb9e3cd0",
];
const WORD = (1n << 64n) - 1n;

/**
 * BLAKE2b of at most 128 bytes (RFC 7693), without a key.
 *
 * @param {Uint8Array} message
 * @param {number} size of the digest, in bytes
 * @returns {bigint[]} the digest's state, in words of 64 bits
 */
function blake2b(message, size) {
  const block = new DataView(new ArrayBuffer(128));
  message.forEach((byte, place) => block.setUint8(place, byte));
  const m = Array.from({ length: 16 }, (_, word) => block.getBigUint64(8 * word, true));
  const h = [...IV];
  h[0] ^= 0x01010000n ^ BigInt(size);
  const v = [...h, ...IV];
  v[12] ^= BigInt(message.length);
  v[14] ^= WORD;
  /** @type {(word: bigint, by: bigint) => bigint} */
  const turned = (word, by) => ((word >> by) | (word << (64n - by))) & WORD;
  /** @type {(a: number, b: number, c: number, d: number, x: bigint, y: bigint) => void} */
  const mix = (a, b, c, d, x, y) => {
    v[a] = (v[a] + v[b] + x) & WORD;
    v[d] = turned(v[d] ^ v[a], 32n);
    v[c] = (v[c] + v[d]) & WORD;
    v[b] = turned(v[b] ^ v[c], 24n);
    v[a] = (v[a] + v[b] + y) & WORD;
    v[d] = turned(v[d] ^ v[a], 16n);
    v[c] = (v[c] + v[d]) & WORD;
    v[b] = turned(v[b] ^ v[c], 63n);
  };
  for (let round = 0; round < 12; round++) {
    const s = [...SIGMA[round % 10]].map((place) => parseInt(place, 16));
    for (let k = 0; k < 4; k++) mix(k, 4 + k, 8 + k, 12 + k, m[s[2 * k]], m[s[2 * k + 1]]);
    for (let k = 0; k < 4; k++) {
      mix(k, 4 + ((k + 1) % 4), 8 + ((k + 2) % 4), 12 + ((k + 3) % 4), m[s[8 + 2 * k]], m[s[9 + 2 * k]]);
    }
  }
  return h.map((word, k) => word ^ v[k] ^ v[k + 8]);
}

/**
 * Return a 63-bit seed for one purpose under `seed`.
 *
 * @param {number | bigint} seed
 * @param {...(string | number)} purpose
 * @returns {bigint}
 */
export function derive(seed, ...purpose) {
  return blake2b(new TextEncoder().encode([seed, ...purpose].join("/")), 8)[0] >> 1n;
}

/**
 * Return the upper 32 bits of a product of two numbers of 32 bits.
 *
 * @param {number} a
 * @param {number} b
 */
function high(a, b) {
  const low = a & 0xffff, top = a >>> 16, other = b & 0xffff, above = b >>> 16;
  const middle = top * other + ((low * other) >>> 16);
  const rest = low * above + (middle & 0xffff);
  return (top * above + Math.floor(middle / 65536) + Math.floor(rest / 65536)) >>> 0;
}

/**
 * Philox-4x32-10 (Salmon et al. 2011, section 4.3): four words become four random ones.
 *
 * @param {number[]} counter four words of 32 bits
 * @param {number[]} key two words of 32 bits
 * @returns {number[]}
 */
export function philox(counter, key) {
  let [a, b, c, d] = counter;
  let [low, top] = key;
  for (let round = 0; round < 10; round++) {
    const left = high(a, MULTIPLIERS[0]), right = high(c, MULTIPLIERS[1]);
    const below = Math.imul(a, MULTIPLIERS[0]), under = Math.imul(c, MULTIPLIERS[1]);
    [a, b, c, d] = [(right ^ b ^ low) >>> 0, under >>> 0, (left ^ d ^ top) >>> 0, below >>> 0];
    low = (low + WEYL[0]) >>> 0;
    top = (top + WEYL[1]) >>> 0;
  }
  return [a, b, c, d];
}

/** The standard normal noise of samples under a seed; each call of `normal` is the next draw of every one. */
export class SampleNoise {
  /**
   * @param {number | bigint} seed
   * @param {number} first the first sample
   * @param {number} count how many
   */
  constructor(seed, first, count) {
    const derived = derive(seed, "sample");
    this.key = [Number(derived & 0xffffffffn), Number(derived >> 32n)];
    this.first = first;
    this.count = count;
    this.draws = 0;
  }

  /**
   * Draw normals for every sample (Box & Muller 1958), one sample after the other.
   *
   * @param {number} numbers of each sample
   * @returns {Float32Array}
   */
  normal(numbers) {
    const drawn = new Float32Array(this.count * numbers);
    for (let sample = 0; sample < this.count; sample++) {
      const index = this.first + sample;
      for (let block = 0; 4 * block < numbers; block++) {
        const words = [block, this.draws, index >>> 0, Math.floor(index / 2 ** 32)];
        const uniform = philox(words, this.key).map((word) => Math.fround((word >>> 8) + 0.5) * 2 ** -24);
        for (let pair = 0; pair < 2; pair++) {
          const radius = Math.sqrt(-2 * Math.log(uniform[pair])), angle = 2 * Math.PI * uniform[2 + pair];
          const place = 4 * block + 2 * pair;
          if (place < numbers) drawn[sample * numbers + place] = radius * Math.cos(angle);
          if (place + 1 < numbers) drawn[sample * numbers + place + 1] = radius * Math.sin(angle);
        }
      }
    }
    this.draws += 1;
    return drawn;
  }
}
