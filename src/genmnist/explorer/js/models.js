// The models of a page as functions on arrays: what genmnist/models/ has, run by onnxruntime.

import { deal } from "./clusters.js";
import { classifierFree } from "./guidance.js";
import { noisy, repaint, sooner } from "./inpainting.js";
import { SampleNoise } from "./randomness.js";
import { SAMPLERS, thresholded } from "./samplers.js";
import { Schedule } from "./schedules.js";
import { spaced } from "./spacings.js";
import { denoised } from "./targets.js";

/** @typedef {import("./samplers.js").Denoise} Denoise */
/** @typedef {import("./samplers.js").Step} Step */
/** @typedef {(inputs: Float32Array[], count: number, labels?: number[]) => Promise<Float32Array>} Graph runs a network on a batch */

/**
 * What the exporter says of a diffusion model.
 *
 * @typedef {object} DiffusionInfo
 * @property {string} name by which it is asked for
 * @property {string} title
 * @property {number[]} shape channels, height, width
 * @property {number} classes labels that it may be asked for, 0 for none
 * @property {number | null} null_label that stands for any, in a model whose network knows labels or clusters
 * @property {number[]} clusters the share of each, in a model that knows them
 * @property {string[]} class_names
 * @property {string} target what it predicts
 * @property {boolean} straight
 * @property {number[]} log_snrs
 * @property {Record<string, any>} sampling the settings that suit each sampler
 * @property {string} sampler the default one
 * @property {Record<string, any>[]} few the settings that suit each number of steps that it was made for, if it was made for few
 */

/**
 * How to sample.
 *
 * @typedef {object} How
 * @property {string} sampler
 * @property {number} steps
 * @property {string} spacing
 * @property {number} eta
 * @property {string} variance
 * @property {number} temperature
 * @property {number} guidance
 */

/** A diffusion model: genmnist/models/diffusion.py. */
export class Diffusion {
  /**
   * @param {DiffusionInfo} info
   * @param {Graph} network
   */
  constructor(info, network) {
    this.info = info;
    this.network = network;
    this.schedule = new Schedule(info.log_snrs, info.straight);
    this.pixels = info.shape.reduce((all, side) => all * side, 1);
    this.calls = 0; // of the network, an image each
  }

  /**
   * Return the clean images and the noise that the network sees in images at timestep `t`.
   *
   * @param {Float32Array} x
   * @param {number} t
   * @param {number[]} labels of each; none for a model without
   */
  async denoise(x, t, labels) {
    const alpha = this.schedule.alpha(t), sigma = this.schedule.sigma(t);
    const count = x.length / this.pixels, size = Math.hypot(alpha, sigma);
    const levels = new Float32Array(count).fill(2 * Math.log(alpha / sigma));
    this.calls += count;
    const prediction = await this.network([x.map((value) => value / size), levels], count, labels);
    return denoised(this.info.target, prediction, x, alpha, sigma);
  }

  /**
   * Return what samplers call: guided first, then kept in range.
   *
   * @param {number[]} labels of each image; empty for any
   * @param {number} count of images
   * @param {number} guidance
   * @returns {Denoise}
   */
  denoiser(labels, count, guidance) {
    /** @type {Denoise} */
    let denoise = (x, t) => this.denoise(x, t, []);
    const any = this.info.null_label;
    if (any !== null) {
      const own = Array.from({ length: count }, (_, k) => (labels.length ? labels[k % labels.length] : any));
      denoise = labels.length
        ? classifierFree((x, t, all) => this.denoise(x, t, all), own, any, guidance)
        : (x, t) => this.denoise(x, t, own);
    }
    return thresholded(denoise, this.schedule);
  }

  /**
   * Draw the noise that samples start from.
   *
   * @param {SampleNoise} noise
   * @param {number} temperature
   */
  prior(noise, temperature) {
    const size = temperature * this.schedule.sigma(this.schedule.length - 1);
    return noise.normal(this.pixels).map((value) => size * value);
  }

  /**
   * Yield x_t and what is predicted from it, at every timestep; the last, at `CLEAN`, is the image itself.
   *
   * @param {How} how
   * @param {number[]} labels
   * @param {number} seed
   * @param {number} first
   * @param {number} count
   * @returns {AsyncGenerator<Step, void, void>}
   */
  async *trace(how, labels, seed, first, count) {
    const noise = new SampleNoise(seed, first, count), { clusters } = this.info;
    const own = clusters.length ? deal(clusters, seed, first, count) : labels;
    yield* this.walk(how, own, this.prior(noise, how.temperature), this.timesteps(how), noise);
  }

  /** @param {How} how */
  timesteps(how) {
    return spaced(this.schedule, how.steps, how.spacing);
  }

  /**
   * The same, from given images at given timesteps on.
   *
   * @param {How} how
   * @param {number[]} labels
   * @param {Float32Array} x
   * @param {number[]} timesteps
   * @param {SampleNoise} noise
   * @returns {AsyncGenerator<Step, void, void>}
   */
  async *walk(how, labels, x, timesteps, noise) {
    let t = timesteps[0];
    for await (const step of this.steps(how, labels, x, timesteps, noise)) {
      yield { t, x, x0: step.x0 };
      t = step.t;
      x = step.x;
    }
    yield { t, x, x0: x };
  }

  /**
   * Run the sampler: what it yields is where each step ends.
   *
   * @param {How} how
   * @param {number[]} labels
   * @param {Float32Array} x
   * @param {number[]} timesteps
   * @param {SampleNoise} noise
   */
  steps(how, labels, x, timesteps, noise) {
    const fresh = () => noise.normal(this.pixels).map((value) => how.temperature * value);
    const settings = { noise: fresh, eta: how.eta, variance: how.variance };
    const denoise = this.denoiser(labels, x.length / this.pixels, how.guidance);
    return SAMPLERS[how.sampler](denoise, x, this.schedule, timesteps, settings);
  }

  /**
   * Draw what is hidden of an image in [-1, 1], `count` times.
   *
   * @param {How} how
   * @param {number[]} labels
   * @param {Float32Array} image
   * @param {boolean[]} hidden
   * @param {number} seed
   * @param {number} count
   * @param {number} resample
   */
  complete(how, labels, image, hidden, seed, count, resample) {
    const noise = new SampleNoise(seed, 0, count);
    return repaint(
      (x, pair) => this.steps(how, labels, x, pair, noise), this.prior(noise, 1), this.schedule, this.timesteps(how),
      repeated(image, count), hidden, () => noise.normal(this.pixels), resample,
    );
  }

  /**
   * Add noise to an image in [-1, 1], and take it away again, `count` times.
   *
   * @param {How} how
   * @param {number[]} labels
   * @param {Float32Array} image
   * @param {number} strength
   * @param {number} seed
   * @param {number} count
   */
  edit(how, labels, image, strength, seed, count) {
    const noise = new SampleNoise(seed, 0, count), timesteps = sooner(this.timesteps(how), strength);
    const drawn = noise.normal(this.pixels).map((value) => how.temperature * value);
    const x = noisy(repeated(image, count), this.schedule, timesteps[0], drawn);
    return this.walk(how, labels, x, timesteps, noise);
  }
}

/**
 * @param {Float32Array} image
 * @param {number} count
 */
export function repeated(image, count) {
  const many = new Float32Array(count * image.length);
  for (let k = 0; k < count; k++) many.set(image, k * image.length);
  return many;
}
