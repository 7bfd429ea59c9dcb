// Samplers: generators that walk from noise to an image and yield every step; genmnist/diffusion/samplers.py.
// Images of a batch lie one after the other in one array.

import { CLEAN } from "./schedules.js";

/** @typedef {import("./schedules.js").Schedule} Schedule */
/** @typedef {import("./targets.js").Denoised} Denoised */
/** @typedef {(x: Float32Array, t: number) => Promise<Denoised>} Denoise */
/** @typedef {() => Float32Array} Noise */
/** @typedef {{noise: Noise, eta: number, variance: string}} Settings */
/** @typedef {{t: number, x: Float32Array, x0: Float32Array}} Step x at timestep t, and what was predicted on the way there */
/** @typedef {AsyncGenerator<Step, void, void>} Steps */
/** @typedef {(denoise: Denoise, x: Float32Array, schedule: Schedule, timesteps: number[], settings: Settings) => Steps} Sampler */

/**
 * Alpha and sigma at two timesteps.
 *
 * @param {Schedule} schedule
 * @param {number} t
 * @param {number} s
 */
const levels = (schedule, t, s) => [schedule.alpha(t), schedule.sigma(t), schedule.alpha(s), schedule.sigma(s)];

/**
 * Neighbouring timesteps.
 *
 * @param {number[]} timesteps
 */
const pairwise = (timesteps) => timesteps.slice(1).map((s, k) => [timesteps[k], s]);

/**
 * Draw each x_s from its posterior given x_t and the predicted x_0 (Ho, Jain & Abbeel 2020, algorithm 2).
 *
 * @type {Sampler}
 */
export async function* ancestral(denoise, x, schedule, timesteps, { noise, variance }) {
  for (const [t, s] of pairwise(timesteps)) {
    const { x0 } = await denoise(x, t);
    const [alpha, sigma, alphaS, sigmaS] = levels(schedule, t, s);
    const ratio = alpha / alphaS;
    const beta = sigma ** 2 - ratio ** 2 * sigmaS ** 2;
    const kept = (ratio * sigmaS ** 2) / sigma ** 2, added = (alphaS * beta) / sigma ** 2;
    let next = x.map((value, k) => kept * value + added * x0[k]);
    if (sigmaS > 0) {
      const spread = variance === "beta" ? beta : (beta * sigmaS ** 2) / sigma ** 2;
      const fresh = noise();
      next = next.map((value, k) => value + Math.sqrt(spread) * fresh[k]);
    }
    x = next;
    yield { t: s, x, x0 };
  }
}

/**
 * Step along the predicted noise, `eta` of it drawn afresh (Song, Meng & Ermon 2021, eq. 12, eq. 16).
 *
 * @type {Sampler}
 */
export async function* ddim(denoise, x, schedule, timesteps, { noise, eta }) {
  for (const [t, s] of pairwise(timesteps)) {
    const { x0, epsilon } = await denoise(x, t);
    const [alpha, sigma, alphaS, sigmaS] = levels(schedule, t, s);
    const fresh = eta && sigmaS > 0
      ? ((eta * sigmaS) / sigma) * Math.sqrt(sigma ** 2 - (alpha / alphaS) ** 2 * sigmaS ** 2)
      : 0;
    const kept = Math.sqrt(Math.max(sigmaS ** 2 - fresh ** 2, 0));
    x = x0.map((value, k) => alphaS * value + kept * epsilon[k]);
    if (fresh) {
      const drawn = noise();
      x = x.map((value, k) => value + fresh * drawn[k]);
    }
    yield { t: s, x, x0 };
  }
}

/**
 * DPM-Solver++(2M), second order (Lu et al. 2022b, algorithm 2); first order on the first and last steps.
 *
 * @type {Sampler}
 */
export async function* dpmSolver(denoise, x, schedule, timesteps) {
  /** @type {{clean: Float32Array, width: number} | null} */
  let before = null;
  for (const [t, s] of pairwise(timesteps)) {
    const { x0: clean } = await denoise(x, t);
    const [, sigma, alphaS, sigmaS] = levels(schedule, t, s);
    const width = (schedule.logSnr(s) - schedule.logSnr(t)) / 2;
    let guess = clean;
    if (before !== null && sigmaS > 0) {
      const earlier = before.clean, share = width / before.width / 2;
      guess = clean.map((value, k) => value + (value - earlier[k]) * share);
    }
    const kept = sigmaS / sigma, added = alphaS * -Math.expm1(-width);
    x = x.map((value, k) => kept * value + added * guess[k]);
    before = { clean, width };
    yield { t: s, x, x0: clean };
  }
}

/**
 * Heun's second-order method on the probability-flow ODE (Karras et al. 2022, algorithm 1), in the angle of
 * (alpha, sigma). It calls `denoise` twice a step, but once for the last.
 *
 * @type {Sampler}
 */
export async function* heun(denoise, x, schedule, timesteps) {
  /** @type {(point: Denoised, alpha: number, sigma: number) => Float32Array} */
  const slope = ({ x0, epsilon }, alpha, sigma) =>
    x0.map((value, k) => (alpha * epsilon[k] - sigma * value) / Math.hypot(alpha, sigma));
  for (const [t, s] of pairwise(timesteps)) {
    const here = await denoise(x, t);
    const [alpha, sigma, alphaS, sigmaS] = levels(schedule, t, s);
    if (sigmaS > 0) {
      const y = x.map((value) => value / Math.hypot(alpha, sigma)), size = Math.hypot(alphaS, sigmaS);
      const turn = Math.atan2(sigmaS, alphaS) - Math.atan2(sigma, alpha);
      const first = slope(here, alpha, sigma);
      const there = await denoise(y.map((value, k) => size * (value + turn * first[k])), s);
      const second = slope(there, alphaS, sigmaS);
      x = y.map((value, k) => size * (value + (turn * (first[k] + second[k])) / 2));
    } else {
      x = here.x0;
    }
    yield { t: s, x, x0: here.x0 };
  }
}

/**
 * Take the predicted image, noise it afresh to the next timestep (Song et al. 2023, algorithm 1).
 *
 * @type {Sampler}
 */
export async function* consistency(denoise, x, schedule, timesteps, { noise }) {
  for (const [t, s] of pairwise(timesteps)) {
    const { x0 } = await denoise(x, t);
    const [, , alphaS, sigmaS] = levels(schedule, t, s);
    if (sigmaS > 0) {
      const fresh = noise();
      x = x0.map((value, k) => alphaS * value + sigmaS * fresh[k]);
    } else {
      x = x0;
    }
    yield { t: s, x, x0 };
  }
}

/** @type {Record<string, Sampler>} */
export const SAMPLERS = { "dpm-solver": dpmSolver, ddim, heun, ancestral, consistency };

/**
 * Keep predicted images within [-1, 1], and the predicted noise in step with them.
 *
 * @param {Denoise} denoise
 * @param {Schedule} schedule
 * @returns {Denoise}
 */
export function thresholded(denoise, schedule) {
  return async (x, t) => {
    const x0 = (await denoise(x, t)).x0.map((value) => Math.min(Math.max(value, -1), 1));
    const alpha = schedule.alpha(t), sigma = schedule.sigma(t);
    return { x0, epsilon: x.map((value, k) => (value - alpha * x0[k]) / sigma) };
  };
}

/**
 * What to call a timestep: itself, rounded, until it is the sample.
 *
 * @param {number} t
 */
export const moment = (t) => (t === CLEAN ? "the sample" : `t = ${Math.round(t)}`);
