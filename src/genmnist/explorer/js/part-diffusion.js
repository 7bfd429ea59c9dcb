// Diffusion: digits out of noise, step by step.

import { Cancelled } from "./client.js";
import { block, button, choice, el, figure, number, picture, show, slider } from "./elements.js";
import { gallery, split, taskmaster } from "./gallery.js";
import { moment } from "./samplers.js";
import { Schedule } from "./schedules.js";
import { remember } from "./state.js";

/** @typedef {import("./page.js").Page} Page */
/** @typedef {import("./models.js").How} How */
/** @typedef {import("./models.js").DiffusionInfo} Info */
/** @typedef {import("./samplers.js").Step & {calls: number}} Frame */

const FORKS = 6;
const FRAME = 90; // milliseconds that a step is shown while it plays

/** @param {number} value */
const signed = (value) => `${value < 0 ? "−" : ""}${Math.abs(value)}`;

/**
 * Build the part.
 *
 * @param {Page} page
 * @param {HTMLElement} place
 */
export function buildDiffusion(page, place) {
  const { engine, shape, data } = page, models = data.diffusion;
  if (!models.length) return;
  /** @type {Frame[]} */
  let frames = [];
  let at = 0, following = true, timer = 0;
  /** @type {AbortController | null} */
  let running = null;

  const preferred = models.find((one) => one.classes) ?? models[0];
  const model = choice({
    name: "model", label: "Model", value: preferred.name, options: models.map((one) => [one.name, one.title]), change: () => changed(true),
  });
  /** @returns {Info} */
  const info = () => models.find((one) => one.name === model.get()) ?? models[0];
  /** What suits the number of steps, in a model of few. */
  const forSteps = () => (sampler.get() === info().sampler ? info().few.findLast((one) => one.steps <= steps.value()) : undefined);
  const suited = () => forSteps() ?? info().sampling[sampler.get()];
  /** What a setting is at first. @param {string} setting */
  const suits = (setting) => () => String(suited()[setting]);
  const stepped = () => {
    const best = forSteps();
    if (best) temperature.set(String(best.temperature), true);
    draw();
  };
  const label = choice({
    name: "label", label: "Draw a", value: "7",
    options: [["any", "any"], ...data.class_names.map((name, k) => /** @type {[string, string]} */ ([String(k), name]))], change: () => draw(),
  });
  const guidance = slider({
    name: "w", label: "Guidance w", min: -1, max: 8, step: 0.5, value: preferred.sampling[preferred.sampler].guidance,
    format: signed, change: () => draw(), initial: suits("guidance"),
  });
  const sampler = choice({
    name: "sampler", label: "Sampler", list: true, value: preferred.sampler,
    options: [...new Set(models.flatMap((one) => Object.keys(one.sampling)))].map((name) => [name, name]), change: () => changed(false),
    initial: () => info().sampler,
  });
  const steps = slider({ name: "steps", label: "Steps", min: 1, max: 100, step: 1, value: preferred.sampling[preferred.sampler].steps, change: stepped, initial: () => String(info().sampling[sampler.get()].steps) });
  const spacing = choice({
    name: "spacing", label: "Spacing", list: true, value: preferred.sampling[preferred.sampler].spacing,
    options: ["shifted", "trailing", "leading", "log-snr"].map((name) => [name, name]), change: () => draw(), initial: suits("spacing"),
  });
  const eta = slider({ name: "eta", label: "Fresh noise η", min: 0, max: 1, step: 0.05, value: preferred.sampling[preferred.sampler].eta, change: () => draw(), initial: suits("eta") });
  const temperature = slider({ name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.0125, value: preferred.sampling[preferred.sampler].temperature, change: () => draw(), initial: suits("temperature") });
  const seed = number({ name: "seed", label: "Seed", min: 0, max: 2 ** 31, value: 0, change: () => draw() });

  /** @param {Partial<How>} [changes] */
  const how = (changes) => ({
    sampler: sampler.get(), steps: steps.value(), spacing: spacing.get(), eta: eta.value(), variance: "beta",
    temperature: temperature.value(), guidance: guidance.value(), ...changes,
  });
  const labels = () => (info().classes && label.get() !== "any" ? [Number(label.get())] : []);

  const noisy = picture(shape, "the noisy image", "large"), clean = picture(shape, "the predicted image", "large");
  const curve = chart();
  const words = el("p", { class: "moment", "aria-hidden": "true" }, "");
  const scrub = slider({ label: "Step", min: 0, max: 16, step: 1, value: 0, change: (value) => look(value, true) });
  const play = button("Pause", () => (timer || (running && following) ? pause() : replay()), "primary");
  const status = el("p", { role: "status", class: "quiet" }, "");

  /** Show and hide what a model and a sampler take. @param {boolean} suit take the settings that suit them */
  function changed(suit) {
    const { sampling, classes, sampler: own } = info();
    if (suit || !(sampler.get() in sampling)) sampler.set(own, true);
    steps.set(String(sampling[sampler.get()].steps), true);
    const best = suited();
    spacing.set(best.spacing, true);
    eta.set(String(best.eta), true);
    temperature.set(String(best.temperature), true);
    if (suit) guidance.set(String(best.guidance), true);
    settle();
    remember();
    draw();
    return classes;
  }
  function settle() {
    label.element.hidden = !info().classes;
    guidance.element.hidden = info().null_label === null;
    eta.element.hidden = sampler.get() !== "ddim";
    curve.schedule(new Schedule(info().log_snrs, info().straight));
  }

  /** Draw anew, as the controls say; what is being drawn is called off. */
  function draw() {
    settle();
    running?.abort();
    running = new AbortController();
    const own = running;
    window.clearInterval(timer);
    timer = 0;
    following = true;
    engine.latest("trace", async () => {
      if (own.signal.aborted) return;
      status.textContent = "Drawing …";
      frames = [];
      scrub.input.max = String(steps.value());
      const asked = { model: info().name, how: how(), labels: labels(), seed: seed.value(), first: 0, count: 1 };
      const begun = performance.now();
      const emit = (/** @type {Frame} */ frame) => {
        frames.push(frame);
        if (following) look(frames.length - 1, false);
      };
      try {
        const { calls } = await engine.ask("trace", asked, { emit, signal: own.signal });
        status.textContent = `Drawn in ${calls} calls of the network, ${((performance.now() - begun) / 1000).toFixed(2)} s.`;
      } catch (error) {
        if (!(error instanceof Cancelled)) status.textContent = String(error);
      }
      if (running === own) running = null;
      tell();
    }).then(tell);
    tell();
  }

  /**
   * Show a step.
   *
   * @param {number} index
   * @param {boolean} held by the reader
   */
  function look(index, held) {
    if (held) pause();
    if (!frames.length) return;
    at = Math.min(index, frames.length - 1);
    const { t, x, x0 } = frames[at];
    const share = curve.point(t);
    const name = moment(t);
    show(noisy, x, [-1, 1], `the image at ${name}, ${Math.round(100 * share)} % noise`);
    show(clean, x0, [-1, 1], `the clean image that the network sees in it at ${name}`);
    words.textContent = `${name}, ${Math.round(100 * share)} % noise`;
    scrub.set(String(at), true);
    scrub.input.setAttribute("aria-valuetext", `step ${at} of ${frames.length - 1}, ${words.textContent}`);
    forkButton.disabled = at >= frames.length - 1;
  }
  function pause() {
    window.clearInterval(timer);
    timer = 0;
    following = false;
    tell();
  }
  function replay() {
    if (running) {
      following = true;
      return tell();
    }
    if (at >= frames.length - 1) at = -1;
    window.clearInterval(timer);
    timer = window.setInterval(() => {
      look(at + 1, false);
      if (at >= frames.length - 1) pause();
    }, FRAME);
    tell();
  }
  function tell() {
    play.textContent = timer || (running && following) ? "Pause" : "Play";
  }

  // What follows from a step, and what follows from other settings.
  const task = taskmaster(page.announce);
  const futures = gallery(shape, FORKS, "future");
  const forkButton = button("Six futures from this step", () => {
    pause();
    const { t, x } = frames[at];
    void task(`From ${moment(t)}: ${FORKS} images are drawn.`, async (signal) => {
      const asked = { model: info().name, how: how(), labels: labels(), seed: seed.value() + 1, x, t, count: FORKS };
      const emit = (/** @type {Frame} */ step) => futures.show(split(step.x0, FORKS));
      futures.show(split(await engine.ask("fork", asked, { emit, signal }), FORKS));
    });
  });
  const strengths = [-1, 0, 0.5, 1, 2, 4, 8];
  const sweep = gallery(shape, strengths.length, "guided");
  const guided = button("Draw it under each guidance", () => {
    void task(`${strengths.length} images are drawn.`, async (signal) => {
      /** @type {Float32Array[]} */
      const images = [];
      for (const w of strengths) {
        const asked = { model: info().name, how: how({ guidance: w }), labels: labels(), seed: seed.value(), first: 0, count: 1 };
        images.push((await engine.ask("trace", asked, { signal })).x);
        sweep.show(images, strengths.map((one) => `w = ${signed(one)}`));
      }
    });
  });
  const lengths = [1, 2, 4, 8, 16, 32, 64];
  /** @type {{model: string, changes: Record<string, any>}[]} */
  const rivals = [
    ...lengths.map((count) => ({ model: "", changes: { steps: count } })),
    ...models.flatMap((one) => one.few.map((settings) => ({ model: one.name, changes: { ...settings, sampler: one.sampler } }))),
  ];
  const race = gallery(shape, rivals.length, "drawn in fewer or more steps");
  const raced = button("Draw it in fewer and in more steps", () => {
    void task(`${rivals.length} images are drawn.`, async (signal) => {
      /** @type {Float32Array[]} */
      const images = [];
      /** @type {string[]} */
      const told = [];
      for (const { model: other, changes } of rivals) {
        const asked = { model: other || info().name, how: how(changes), labels: labels(), seed: seed.value(), first: 0, count: 1 };
        const count = changes.steps;
        const { x, calls } = await engine.ask("trace", asked, { signal });
        images.push(x);
        told.push(`${other ? `${other}, ` : ""}${count} step${count > 1 ? "s" : ""}, ${calls} call${calls > 1 ? "s" : ""}`);
        race.show(images, told);
      }
    });
  });

  const guidedBlock = block(
    "Guidance", "The same noise under different guidance: −1 asks the model without the label, 0 the model with it, and more goes beyond the difference between the two.",
    el("div", { class: "buttons" }, guided), sweep.element,
  );
  place.append(
    el("div", { class: "diffusing" },
      el("form", { class: "controls", "aria-label": "How to draw", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
        model.element, label.element, guidance.element, steps.element, sampler.element, spacing.element, eta.element, temperature.element,
        el("div", { class: "seeds" }, seed.element, button("Another", () => {
          seed.set(String(seed.value() + 1));
          remember();
        }))),
      el("div", { class: "stage" },
        el("div", { class: "trio" },
          figure(noisy, "xₜ: the image so far"), figure(clean, "x̂₀: the image that the network sees in it"), figure(curve.element, "noise: how much is left")),
        el("div", { class: "player" }, play, scrub.element, words), status,
        el("div", { class: "buttons" }, forkButton), futures.element)),
    guidedBlock,
    block(
      "Few steps against many", "The same noise, solved coarsely and finely. The cost is in the calls of the network.",
      el("div", { class: "buttons" }, raced), race.element,
    ),
  );
  const before = settle;
  const settled = () => {
    before();
    guidedBlock.hidden = info().null_label === null;
  };
  settled();
  page.opened.set("diffusion", () => {
    if (!frames.length && !running) draw();
  });
}

/** The share of noise along the path, with a point where we are. */
function chart() {
  const space = "http://www.w3.org/2000/svg";
  /** @type {(tag: string, given: Record<string, string | number>) => SVGElement} */
  const svg = (tag, given) => {
    const made = document.createElementNS(space, tag);
    for (const [name, value] of Object.entries(given)) made.setAttribute(name, String(value));
    return made;
  };
  const element = svg("svg", { viewBox: "-8 -8 116 116", class: "curve", role: "img", "aria-label": "the share of noise along the way" });
  const path = svg("polyline", { points: "", class: "path" }), dot = svg("circle", { r: 4, class: "dot" });
  const frame = svg("path", { d: "M0 0V100H100", class: "axis" }), drop = svg("line", { class: "drop", y2: 100 });
  element.append(frame, path, drop, dot);
  /** @type {Schedule | null} */
  let schedule = null;
  /** @param {number} t */
  const noise = (t) => {
    if (!schedule || t < 0) return 0;
    const alpha = schedule.alpha(t), sigma = schedule.sigma(t);
    return sigma / (alpha + sigma);
  };
  return {
    element,
    /** @param {Schedule} given */
    schedule(given) {
      schedule = given;
      const last = given.length - 1;
      const points = Array.from({ length: 51 }, (_, k) => (last * (50 - k)) / 50);
      path.setAttribute("points", points.map((t) => `${100 * (1 - t / last)},${100 * (1 - noise(t))}`).join(" "));
    },
    /** @param {number} t */
    point(t) {
      const share = noise(t), x = schedule ? 100 * (1 - Math.max(t, 0) / (schedule.length - 1)) : 0;
      for (const [name, value] of Object.entries({ cx: x, cy: 100 * (1 - share) })) dot.setAttribute(name, String(value));
      for (const [name, value] of Object.entries({ x1: x, x2: x, y1: 100 * (1 - share) })) drop.setAttribute(name, String(value));
      return share;
    },
  };
}
