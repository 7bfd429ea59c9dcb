// From a part of an image to the whole (RePaint), and to others like it (SDEdit): genmnist/diffusion/inpainting.py.

import { CLEAN } from "./schedules.js";

/** @typedef {import("./schedules.js").Schedule} Schedule */
/** @typedef {import("./samplers.js").Step} Step */
/** @typedef {import("./samplers.js").Noise} Noise */
/** @typedef {(x: Float32Array, pair: number[]) => AsyncGenerator<Step, void, void>} Advance a sampler, between two timesteps */

/**
 * Draw what is hidden of images, given the rest (Lugmayr et al. 2022, "RePaint", algorithm 1).
 *
 * @param {Advance} advance
 * @param {Float32Array} x the noise to start from
 * @param {Schedule} schedule
 * @param {number[]} timesteps
 * @param {Float32Array} clean the images, in [-1, 1]
 * @param {ArrayLike<boolean>} hidden which pixels to draw, of the images in turn
 * @param {Noise} noise fresh noise at each call
 * @param {number} resample how often each step is taken
 * @returns {AsyncGenerator<Step, void, void>}
 */
export async function* repaint(advance, x, schedule, timesteps, clean, hidden, noise, resample) {
  for (let k = 0; k + 1 < timesteps.length; k++) {
    const t = timesteps[k], s = timesteps[k + 1];
    let drawn = x, x0 = x;
    for (let turn = s === CLEAN ? 0 : resample - 1; turn >= 0; turn--) {
      for await (const step of advance(x, [t, s])) {
        drawn = step.x;
        x0 = step.x0;
      }
      const known = s === CLEAN ? clean : noisy(clean, schedule, s, noise());
      drawn = drawn.map((value, place) => (hidden[place % hidden.length] ? value : known[place]));
      if (turn) x = forward(drawn, schedule, s, t, noise());
    }
    x = drawn;
    yield { t: s, x, x0: x0.map((value, place) => (hidden[place % hidden.length] ? value : clean[place])) };
  }
}

/**
 * Return x_t = alpha x_0 + sigma noise.
 *
 * @param {Float32Array} clean
 * @param {Schedule} schedule
 * @param {number} t
 * @param {Float32Array} noise
 */
export function noisy(clean, schedule, t, noise) {
  const alpha = schedule.alpha(t), sigma = schedule.sigma(t);
  return clean.map((value, k) => alpha * value + sigma * noise[k]);
}

/**
 * Add the noise that lies between timesteps s < t (Ho, Jain & Abbeel 2020, eq. 2).
 *
 * @param {Float32Array} x
 * @param {Schedule} schedule
 * @param {number} s
 * @param {number} t
 * @param {Float32Array} noise
 */
export function forward(x, schedule, s, t, noise) {
  const ratio = schedule.alpha(t) / schedule.alpha(s);
  const deviation = Math.sqrt(Math.max(schedule.sigma(t) ** 2 - (ratio * schedule.sigma(s)) ** 2, 0));
  return x.map((value, k) => ratio * value + deviation * noise[k]);
}

/**
 * Return timesteps that begin at a share of the way, as densely spaced as those given (SDEdit's t_0).
 *
 * @param {number[]} timesteps
 * @param {number} strength
 */
export const sooner = (timesteps, strength) => [...timesteps.filter((t) => t !== CLEAN).map((t) => t * strength), CLEAN];
