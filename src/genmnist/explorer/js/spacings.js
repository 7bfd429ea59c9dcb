// Which timesteps a sampler visits: those of genmnist/diffusion/spacings.py.

import { CLEAN } from "./schedules.js";

/** @typedef {import("./schedules.js").Schedule} Schedule */

const SHIFT = 8;

/**
 * Round half to even, as Python does.
 *
 * @param {number} x
 */
function round(x) {
  const below = Math.floor(x);
  if (x - below !== 0.5) return Math.round(x);
  return below % 2 ? below + 1 : below;
}

/** @type {Record<string, (schedule: Schedule, steps: number) => number[]>} */
export const SPACINGS = {
  leading: (schedule, steps) =>
    Array.from({ length: steps }, (_, k) => (steps - 1 - k) * Math.floor(schedule.length / steps)),
  trailing: (schedule, steps) =>
    Array.from({ length: steps }, (_, k) => round((schedule.length * (steps - k)) / steps) - 1),
  shifted: (schedule, steps) =>
    Array.from({ length: steps }, (_, k) => (steps - k) / steps).map(
      (u) => ((schedule.length - 1) * SHIFT * u) / (1 + (SHIFT - 1) * u),
    ),
  "log-snr": (schedule, steps) => {
    const start = schedule.logSnrs[schedule.length - 1], end = schedule.logSnrs[0];
    return Array.from({ length: steps }, (_, k) =>
      schedule.timestep(steps === 1 ? start : start + ((end - start) * k) / (steps - 1)),
    );
  },
};

/**
 * Return `steps` timesteps from noisy to clean, and `CLEAN` after them.
 *
 * @param {Schedule} schedule
 * @param {number} steps
 * @param {string} spacing
 * @param {number} last takes the place of the last of them; 0 leaves it as it is
 * @returns {number[]}
 */
export function spaced(schedule, steps, spacing = "trailing", last = 0) {
  if (!(steps >= 1 && steps <= schedule.length)) throw new RangeError(`steps must lie between 1 and ${schedule.length}`);
  const chosen = SPACINGS[spacing](schedule, steps);
  if (last) {
    if (last >= (steps > 1 ? chosen[steps - 2] : schedule.length)) throw new RangeError("the last timestep comes too early");
    chosen[steps - 1] = last;
  }
  return [...chosen, CLEAN];
}
