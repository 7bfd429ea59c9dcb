// The worker: it holds the models and answers requests one after the other, so that the page never freezes.

import { Diffusion, repeated } from "./models.js";
import { unpack } from "./packing.js";
import { SampleNoise } from "./randomness.js";
import { CLEAN } from "./schedules.js";

/** @typedef {import("./models.js").How} How */
/** @typedef {{id: number, call: string, args: any}} Asked */

/** @type {any} */
const scope = self;
/** @type {any} */
let ort = null;
/** @type {Record<string, string>} */
let packed = {};
/** @type {import("./models.js").DiffusionInfo[]} */
let described = [];
/** @type {Map<string, Promise<any>>} */
const sessions = new Map();
/** @type {Map<string, Diffusion>} */
const diffusions = new Map();
/** @type {Set<number>} */
const cancelled = new Set();
const turns = new MessageChannel();

/** Let messages in, between two calls of a network. */
const breathe = () =>
  new Promise((resolve) => {
    turns.port1.onmessage = resolve;
    turns.port2.postMessage(0);
  });

/** Start onnxruntime from the bytes in the page: one thread, no request. */
async function start() {
  const source = URL.createObjectURL(new Blob([await unpack(packed["ort.mjs"])], { type: "text/javascript" }));
  ort = await import(source);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await unpack(packed["ort.wasm"]);
  ort.env.logLevel = "error";
  packed["ort.mjs"] = packed["ort.wasm"] = "";
}

/** @type {Promise<void> | null} */
let started = null;

/**
 * Return the session of a graph, made when it is first needed.
 *
 * @param {string} name
 */
async function session(name) {
  started ??= start();
  await started;
  let made = sessions.get(name);
  if (!made) {
    made = unpack(packed[name]).then((bytes) => ort.InferenceSession.create(bytes, { graphOptimizationLevel: "all" }));
    sessions.set(name, made);
  }
  return made;
}

/**
 * Run a graph on a batch; its inputs are told by their order.
 *
 * @param {string} name
 * @param {[Float32Array | BigInt64Array, number[]][]} inputs with their shapes
 * @returns {Promise<Float32Array>}
 */
async function run(name, inputs) {
  const found = await session(name);
  const feeds = Object.fromEntries(
    inputs.map(([data, dims], place) => [
      found.inputNames[place],
      new ort.Tensor(data instanceof BigInt64Array ? "int64" : "float32", data, dims),
    ]),
  );
  const answer = await found.run(feeds);
  return answer[found.outputNames[0]].data;
}

/**
 * Return a diffusion model of the page.
 *
 * @param {string} name
 */
function diffusion(name) {
  let model = diffusions.get(name);
  const info = described.find((one) => one.name === name);
  if (!info) throw new Error(`this page has no model ${name}`);
  if (!model) {
    model = new Diffusion(info, (inputs, count, labels) => {
      /** @type {[Float32Array | BigInt64Array, number[]][]} */
      const given = [[inputs[0], [count, ...info.shape]], [inputs[1], [count]]];
      if (info.null_label !== null) given.push([BigInt64Array.from(labels ?? [], BigInt), [count]]);
      return run(name, given);
    });
    diffusions.set(name, model);
  }
  return model;
}

/** @type {number[]} */
let shape = [1, 28, 28];

/** @type {Record<string, (args: any, emit: (part: any) => Promise<void>) => any>} What can be asked for. */
const calls = {
  /** @param {{packed: Record<string, string>, diffusion: any[], shape: number[]}} args */
  async begin(args) {
    packed = args.packed;
    described = args.diffusion;
    shape = args.shape;
  },

  /** Load graphs ahead of their use. @param {{graphs: string[]}} args */
  async warm({ graphs }) {
    for (const name of graphs) await session(name);
  },

  /** Class probabilities of images in [0, 1]. @param {{images: Float32Array}} args */
  async classify({ images }) {
    const count = images.length / (shape[0] * shape[1] * shape[2]);
    const logits = await run("classifier", [[images, [count, ...shape]]]);
    const classes = logits.length / count, shares = new Float32Array(logits.length);
    for (let k = 0; k < count; k++) {
      const row = logits.subarray(k * classes, (k + 1) * classes), top = Math.max(...row);
      const powers = Array.from(row, (value) => Math.exp(value - top));
      const sum = powers.reduce((a, b) => a + b, 0);
      powers.forEach((power, label) => (shares[k * classes + label] = power / sum));
    }
    return shares;
  },

  /** The posterior mean of images in [0, 1]. @param {{images: Float32Array}} args */
  async encode({ images }) {
    const count = images.length / (shape[0] * shape[1] * shape[2]);
    return run("vae-encoder", [[images, [count, ...shape]]]);
  },

  /** Images in [0, 1] of latent codes. @param {{z: Float32Array, count: number}} args */
  async decode({ z, count }) {
    return run("vae-decoder", [[z, [count, z.length / count]]]);
  },

  /**
   * Draw samples; every step is sent as it is made.
   *
   * @param {{model: string, how: How, labels: number[], seed: number, first: number, count: number}} args
   */
  async trace({ model, how, labels, seed, first, count }, emit) {
    const found = diffusion(model), before = found.calls;
    for await (const step of found.trace(how, labels, seed, first, count)) {
      await emit({ ...step, calls: (found.calls - before) / count });
      if (step.t === CLEAN) return { x: step.x, calls: (found.calls - before) / count };
    }
  },

  /**
   * Go on from x at a timestep, some times over, each with fresh noise: ddim with eta 1, whatever came before.
   *
   * @param {{model: string, how: How, labels: number[], seed: number, x: Float32Array, t: number, count: number}} args
   */
  async fork({ model, how, labels, seed, x, t, count }, emit) {
    const found = diffusion(model);
    const timesteps = [t, ...found.timesteps(how).filter((s) => s < t)];
    const fresh = { ...how, sampler: "ddim", eta: 1 };
    return last(found.walk(fresh, labels, repeated(x, count), timesteps, new SampleNoise(seed, 0, count)), emit);
  },

  /**
   * Draw what is hidden of an image in [0, 1].
   *
   * @param {{model: string, how: How, labels: number[], image: Float32Array, hidden: boolean[], seed: number, count: number, resample: number}} args
   */
  async complete({ model, how, labels, image, hidden, seed, count, resample }, emit) {
    return last(diffusion(model).complete(how, labels, image.map((grey) => 2 * grey - 1), hidden, seed, count, resample), emit);
  },

  /**
   * Draw images like one in [0, 1].
   *
   * @param {{model: string, how: How, labels: number[], image: Float32Array, strength: number, seed: number, count: number}} args
   */
  async edit({ model, how, labels, image, strength, seed, count }, emit) {
    return last(diffusion(model).edit(how, labels, image.map((grey) => 2 * grey - 1), strength, seed, count), emit);
  },
};

/**
 * Send every step, and return where the last one ends.
 *
 * @param {AsyncGenerator<import("./samplers.js").Step, void, void>} steps
 * @param {(part: any) => Promise<void>} emit
 */
async function last(steps, emit) {
  /** @type {Float32Array} */
  let x = new Float32Array();
  for await (const step of steps) {
    ({ x } = step);
    await emit(step);
  }
  return x;
}

/** @type {Promise<void>} */
let queue = Promise.resolve();

/** @param {Asked} asked */
async function answer({ id, call, args }) {
  try {
    // A step that is sent makes room for messages; one of them may say that nobody waits any more.
    const emit = async (/** @type {any} */ part) => {
      scope.postMessage({ id, part });
      await breathe();
      if (cancelled.has(id)) throw new Error("cancelled");
    };
    if (cancelled.has(id)) throw new Error("cancelled");
    scope.postMessage({ id, result: await calls[call](args, emit) });
  } catch (error) {
    scope.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
  cancelled.delete(id);
}

scope.onmessage = (/** @type {MessageEvent<any>} */ { data }) => {
  if (data.cancel !== undefined) cancelled.add(data.cancel);
  else queue = queue.then(() => answer(data));
};
