// Guidance without a classifier: genmnist/diffusion/guidance.py.

/** @typedef {import("./targets.js").Denoised} Denoised */
/** @typedef {import("./samplers.js").Denoise} Denoise */
/** @typedef {(x: Float32Array, t: number, labels: number[]) => Promise<Denoised>} Conditional */

/**
 * Predict (1 + w) epsilon(x, label) - w epsilon(x), by one call (Ho & Salimans 2022, eq. 6).
 *
 * Where w is 0 only the model with labels is asked, where it is -1 only the one without.
 *
 * @param {Conditional} denoise
 * @param {number[]} labels of each image
 * @param {number} nothing the null label
 * @param {number} strength w
 * @returns {Denoise}
 */
export function classifierFree(denoise, labels, nothing, strength) {
  const none = labels.map(() => nothing);
  return async (x, t) => {
    if (strength === 0 || strength === -1) return denoise(x, t, strength ? none : labels);
    const twice = new Float32Array(2 * x.length);
    twice.set(x);
    twice.set(x, x.length);
    const both = await denoise(twice, t, [...labels, ...none]);
    /** @param {Float32Array} part */
    const beyond = (part) => {
      const plain = part.subarray(x.length);
      return part.slice(0, x.length).map((value, k) => (1 + strength) * value - strength * plain[k]);
    };
    return { x0: beyond(both.x0), epsilon: beyond(both.epsilon) };
  };
}
