// The theory in JavaScript gives the numbers of the theory in Python: tests/explorer/vectors.json.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { deal } from "../../src/genmnist/explorer/js/clusters.js";
import { classifierFree } from "../../src/genmnist/explorer/js/guidance.js";
import { repaint, sooner } from "../../src/genmnist/explorer/js/inpainting.js";
import { derive, philox, SampleNoise } from "../../src/genmnist/explorer/js/randomness.js";
import { SAMPLERS, thresholded } from "../../src/genmnist/explorer/js/samplers.js";
import { Schedule } from "../../src/genmnist/explorer/js/schedules.js";
import { spaced } from "../../src/genmnist/explorer/js/spacings.js";
import { denoised } from "../../src/genmnist/explorer/js/targets.js";

const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf8"));
const NUMBERS = 12;

/**
 * @param {ArrayLike<number>} found
 * @param {ArrayLike<number>} wanted
 * @param {number} most how far apart
 */
function close(found, wanted, most = 1e-6) {
  assert.equal(found.length, wanted.length);
  for (let k = 0; k < found.length; k++) {
    assert.ok(Math.abs(found[k] - wanted[k]) <= most * Math.max(1, Math.abs(wanted[k])), `${k}: ${found[k]} is not ${wanted[k]}`);
  }
}

/**
 * The denoiser of scripts/vectors.py: tanh of the image, shifted by its label.
 *
 * @param {Schedule} schedule
 * @returns {(x: Float32Array, t: number, labels?: number[]) => Promise<import("../../src/genmnist/explorer/js/targets.js").Denoised>}
 */
const toy = (schedule) => async (x, t, labels) => {
  const x0 = x.map((value, k) => Math.tanh(1.2 * value + (labels?.[Math.floor(k / NUMBERS)] ?? 0) / 10));
  return { x0, epsilon: x.map((value, k) => (value - schedule.alpha(t) * x0[k]) / schedule.sigma(t)) };
};
const start = () => new SampleNoise(3, 0, 2).normal(NUMBERS);

test("seeds, counters and noise", () => {
  for (const [seed, purpose, wanted] of vectors.derive) assert.equal(String(derive(seed, purpose)), wanted);
  for (const [counter, key, wanted] of vectors.philox) assert.deepEqual(philox(counter, key), wanted);
  const { seed, first, count, numbers, draws } = vectors.noise;
  const noise = new SampleNoise(seed, first, count);
  for (const wanted of draws) close(noise.normal(numbers), wanted);
});

test("clusters", () => {
  for (const { shares, seed, first, dealt } of vectors.clusters) {
    assert.deepEqual(deal(shares, seed, first, dealt.length), dealt);
  }
});

test("schedules", () => {
  for (const { name, straight, log_snrs, times, alpha, sigma, found } of vectors.schedules) {
    const schedule = new Schedule(log_snrs, straight);
    times.forEach((/** @type {number} */ t, /** @type {number} */ k) => {
      close([schedule.alpha(t), schedule.sigma(t)], [alpha[k], sigma[k]], 1e-12);
    });
    for (const [lambda, t] of found) close([schedule.timestep(lambda)], [t], 1e-9);
    assert.ok(name);
  }
});

test("spacings", () => {
  const { log_snrs } = vectors.samplers[0];
  const thousand = Array.from({ length: 1000 }, (_, k) => 2 * Math.log(1001 / (k + 1) - 1));
  for (const { spacing, steps, last, timesteps } of vectors.spacings) {
    close(spaced(new Schedule(thousand, true), steps, spacing, last), timesteps, 1e-9);
  }
  assert.throws(() => spaced(new Schedule(log_snrs, true), 65, "trailing"), RangeError);
});

test("targets", () => {
  for (const { name, x, prediction, alpha, sigma, x0, epsilon } of vectors.targets) {
    const found = denoised(name, Float32Array.from(prediction), Float32Array.from(x), alpha, sigma);
    close(found.x0, x0);
    close(found.epsilon, epsilon);
  }
});

for (const { sampler, schedule: name, log_snrs, straight, steps, settings, t, x, x0 } of vectors.samplers) {
  test(`${sampler} on ${name}, ${JSON.stringify(settings)}`, async () => {
    const schedule = new Schedule(log_snrs, straight), noise = new SampleNoise(4, 0, 2);
    const given = { noise: () => noise.normal(NUMBERS), eta: 0, variance: "beta", ...settings };
    const denoise = thresholded(toy(schedule), schedule), timesteps = spaced(schedule, steps, "shifted");
    const walked = [];
    for await (const step of SAMPLERS[sampler](denoise, start(), schedule, timesteps, given)) walked.push(step);
    close(walked.map((step) => step.t), t, 1e-9);
    close(walked[2].x0, x0, 1e-4);
    close(walked[steps - 1].x, x, 1e-4);
  });
}

test("repaint and sooner", async () => {
  const { steps, resample, hidden, clean, log_snrs, x } = vectors.repaint;
  const schedule = new Schedule(log_snrs, true), noise = new SampleNoise(4, 0, 2);
  const fresh = () => noise.normal(NUMBERS), denoise = thresholded(toy(schedule), schedule);
  /** @type {import("../../src/genmnist/explorer/js/inpainting.js").Advance} */
  const advance = (from, pair) => SAMPLERS.ddim(denoise, from, schedule, pair, { noise: fresh, eta: 1, variance: "beta" });
  const walked = [];
  for await (const step of repaint(advance, start(), schedule, spaced(schedule, steps, "shifted"), Float32Array.from(clean), hidden, fresh, resample)) {
    walked.push(step);
  }
  assert.equal(walked.length, steps);
  close(walked[steps - 1].x, x, 1e-4);
  for (const [strength, timesteps] of vectors.sooner) close(sooner([63, 20, 3, -1], strength), timesteps, 1e-12);
});

for (const { strength, labels, null: nothing, t, log_snrs, x0, epsilon } of vectors.guidance) {
  test(`guidance ${strength}`, async () => {
    const schedule = new Schedule(log_snrs, true);
    const found = await classifierFree(toy(schedule), labels, nothing, strength)(start(), t);
    close(found.x0, x0, 1e-5);
    close(found.epsilon, epsilon, 1e-5);
  });
}
