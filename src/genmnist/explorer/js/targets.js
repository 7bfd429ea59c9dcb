// What a network predicts, turned into the clean image and the noise: genmnist/diffusion/targets.py.

/** @typedef {{x0: Float32Array, epsilon: Float32Array}} Denoised */

/**
 * Every target is y = a x_0 + b epsilon; each function returns a and b.
 *
 * @type {Record<string, (alpha: number, sigma: number) => [number, number]>}
 */
export const TARGETS = {
  epsilon: () => [0, 1],
  x0: () => [1, 0],
  v: (alpha, sigma) => [-sigma, alpha],
  flow: () => [-1, 1],
  categorical: () => [1, 0],
};

/**
 * Turn a prediction of `name` at x into x_0 and epsilon.
 *
 * @param {string} name
 * @param {Float32Array} prediction
 * @param {Float32Array} x
 * @param {number} alpha
 * @param {number} sigma
 * @returns {Denoised}
 */
export function denoised(name, prediction, x, alpha, sigma) {
  const [a, b] = TARGETS[name](alpha, sigma);
  const determinant = alpha * b - sigma * a;
  return {
    x0: x.map((value, k) => (b * value - sigma * prediction[k]) / determinant),
    epsilon: x.map((value, k) => (alpha * prediction[k] - a * value) / determinant),
  };
}
