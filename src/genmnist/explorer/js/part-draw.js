// Draw: what the models make of a digit of one's own.

import { block, button, choice, el, figure, picture, show, slider } from "./elements.js";
import { gallery, split, taskmaster } from "./gallery.js";
import { Pad, prepared, read, written } from "./pad.js";
import { bind, remember } from "./state.js";

/** @typedef {import("./page.js").Page} Page */

/**
 * Build the part.
 *
 * @param {Page} page
 * @param {HTMLElement} place
 */
export function buildDraw(page, place) {
  const { engine, shape, data } = page;
  /** @type {Float32Array} */
  let seen = new Float32Array(shape[1] * shape[2]);
  let borrowed = 0; // the test digit on the pad, -1 for a drawing

  const view = picture(shape, "the digit as the models see it", "large");
  const verdict = el("p", { class: "verdict", role: "status" }, "…");
  const names = data.class_names;
  const bars = names.map((name) => {
    const fill = el("div", { class: "fill" }), share = el("span", { class: "share" }, "");
    return { fill, share, row: el("div", { class: "row" }, el("span", { class: "name" }, name), el("div", { class: "track" }, fill), share) };
  });
  const pad = new Pad(() => {
    if (!pad.digit) borrowed = -1;
    remember();
    update();
  });
  const centred = el("input", { type: "checkbox", checked: true, id: "centred", onchange: () => (remember(), update()) });
  bind("centre", () => (centred.checked ? "1" : "0"), (value) => {
    centred.checked = value === "1";
    update();
  });
  bind("digit", () => String(borrowed), (value) => borrow(Number(value)));
  bind("ink", () => (borrowed < 0 ? written(pad.strokes) : ""), (value) => {
    if (value || borrowed < 0) pad.put(read(value));
  });

  /** @param {number} index of a test digit */
  function borrow(index) {
    borrowed = Number.isInteger(index) && index >= 0 && index < page.digits.length ? index : -1;
    if (borrowed >= 0) pad.put([], page.digits[borrowed]);
  }

  /** @param {number} label the class of which the next test digit is wanted */
  function next(label) {
    const all = data.labels.length;
    for (let k = 1; k <= all; k++) {
      const index = (Math.max(borrowed, 0) + k) % all;
      if (data.labels[index] === label) return borrow(index);
    }
  }

  /** @type {(() => void)[]} What else depends on the digit. */
  const dependents = [];
  function update() {
    seen = pad.digit ?? prepared(pad.strokes, centred.checked);
    show(view, seen);
    engine.latest("classify", async () => {
      if (!seen.some((grey) => grey > 0.1)) {
        verdict.textContent = "Draw a digit, or borrow one.";
        bars.forEach(({ fill, share }) => {
          fill.style.width = "0";
          share.textContent = "";
        });
        return;
      }
      const shares = await engine.ask("classify", { images: seen });
      const best = shares.indexOf(Math.max(...shares));
      verdict.replaceChildren("Read as ", el("strong", {}, names[best]), `, ${percent(shares[best])} sure`);
      bars.forEach(({ fill, share, row }, k) => {
        fill.style.width = `${100 * shares[k]}%`;
        share.textContent = percent(shares[k]);
        row.classList.toggle("best", k === best);
      });
    });
    dependents.forEach((depend) => depend());
  }

  const lender = el("div", { class: "bar", role: "group", "aria-label": "Borrow a test digit" });
  names.forEach((name, label) => lender.append(button(name, () => next(label))));
  place.append(
    el("div", { class: "drawing" },
      el("div", { class: "stack" },
        pad.canvas,
        el("div", { class: "buttons" }, button("Clear", () => pad.clear()), button("Undo", () => pad.undo())),
        el("div", { class: "control" }, el("span", { class: "label" }, "or borrow a test digit"), lender),
        el("label", { class: "check" }, centred, "Scale and centre it as MNIST’s were"),
      ),
      el("div", { class: "stack" }, figure(view, "As the models see it, 28 × 28 pixels")),
      el("div", { class: "stack reading" }, verdict, el("div", { class: "bars", "aria-hidden": "true" }, ...bars.map(({ row }) => row))),
    ),
  );
  if (data.vae) place.append(factors(page, () => seen, dependents));
  if (data.diffusion.length) place.append(completing(page, () => seen, dependents), editing(page, () => seen));
  borrow(0);
}

/** @param {number} share */
export const percent = (share) => (share > 0.995 && share < 0.9995 ? `${(100 * share).toFixed(1)} %` : `${Math.round(100 * share)} %`);

/**
 * The reconstruction and its factors as sliders, the most used first.
 *
 * @param {Page} page
 * @param {() => Float32Array} seen
 * @param {(() => void)[]} dependents
 */
function factors(page, seen, dependents) {
  const { engine, shape, data } = page, { order, kl, latent } = data.vae;
  const before = picture(shape, "the digit", "large"), after = picture(shape, "its reconstruction", "large");
  let code = new Float32Array(latent);
  const distance = el("span", {}, "");
  const decode = () =>
    engine.latest("decode", async () => {
      const images = await engine.ask("decode", { z: code, count: 1 });
      const error = Math.sqrt(seen().reduce((sum, grey, k) => sum + (grey - images[k]) ** 2, 0) / images.length);
      show(after, images);
      distance.textContent = `what the code decodes to, ${(255 * error).toFixed(0)} grey levels away`;
    });
  const sliders = order.map((/** @type {number} */ factor, /** @type {number} */ rank) => {
    const made = slider({
      label: `Factor ${factor}`, min: -4, max: 4, step: 0.05, value: 0,
      format: (value) => `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(2)}`,
      change: (value) => {
        code = code.slice();
        code[factor] = value;
        decode();
      },
    });
    made.element.title = `${kl[factor].toFixed(2)} nats: number ${rank + 1} in use`;
    if (kl[factor] < 0.05) made.element.classList.add("idle");
    return made;
  });
  const encode = () =>
    engine.latest("encode", async () => {
      show(before, seen());
      code = await engine.ask("encode", { images: seen() });
      order.forEach((/** @type {number} */ factor, /** @type {number} */ k) => sliders[k].set(String(code[factor]), true));
      await decode();
    });
  dependents.push(encode);
  const idle = kl.filter((/** @type {number} */ nats) => nats < 0.05).length;
  return block(
    "A code of a few numbers",
    `The autoencoder keeps ${latent} numbers of a digit and decodes it from them. Move one: the most used come first` +
      (idle ? `, the last ${idle} (paler) do next to nothing.` : "."),
    el("div", { class: "coding" },
      el("div", { class: "pair" }, figure(before, "the digit"), figure(after, distance), button("Back to the digit’s own code", encode)),
      el("div", { class: "sliders" }, ...sliders.map((/** @type {any} */ made) => made.element)),
    ),
  );
}

const DRAWN = 5; // completions, or edits

/**
 * The model that completes and edits, the labels it knows, and how it is sampled.
 *
 * @param {Page} page
 * @param {string} name in the fragment
 * @param {string} value the label at first
 */
function drawer(page, name, value) {
  const { data } = page, info = data.diffusion.find((one) => one.classes) ?? data.diffusion[0];
  const options = [["any", "any"], ...(info.classes ? data.class_names.map((text, k) => [String(k), text]) : [])];
  const label = choice({ name, label: "as a", value: info.classes ? value : "any", options: /** @type {[string, string][]} */ (options) });
  label.element.hidden = !info.classes;
  /** @param {number} steps */
  const asked = (steps) => ({
    model: info.name, labels: label.get() === "any" ? [] : [Number(label.get())], seed: 0, count: DRAWN,
    how: { sampler: "ddim", steps, spacing: "shifted", eta: 1, variance: "beta", temperature: 1, guidance: 1 },
  });
  return { label, asked };
}

/**
 * Read images, and say as what.
 *
 * @param {Page} page
 * @param {Float32Array} images pixels in [-1, 1]
 */
async function readings(page, images) {
  const shares = await page.engine.ask("classify", { images: images.map((value) => Math.min(Math.max((value + 1) / 2, 0), 1)) });
  const classes = page.data.class_names.length;
  return Array.from({ length: shares.length / classes }, (_, k) => {
    const row = shares.subarray(k * classes, (k + 1) * classes), best = row.indexOf(Math.max(...row));
    return `read as ${page.data.class_names[best]}`;
  });
}

/**
 * What is hidden of the digit, drawn by diffusion.
 *
 * @param {Page} page
 * @param {() => Float32Array} seen
 * @param {(() => void)[]} dependents
 */
function completing(page, seen, dependents) {
  const { engine, shape } = page, task = taskmaster(page.announce);
  const view = picture(shape, "the digit with a part hidden", "small"), row = gallery(shape, DRAWN, "completion");
  const side = choice({
    name: "hide", label: "Hide the", value: "right", change: () => cover(),
    options: [["left", "left half"], ["right", "right half"], ["top", "top half"], ["bottom", "bottom half"]],
  });
  const { label, asked } = drawer(page, "complete", "any");
  const hidden = () => {
    const [, height, width] = shape, where = side.get();
    return Array.from({ length: height * width }, (_, k) => {
      const x = k % width, y = Math.floor(k / width);
      return { left: x < width / 2, right: x >= width / 2, top: y < height / 2, bottom: y >= height / 2 }[where] ?? false;
    });
  };
  const cover = () => {
    const mask = hidden();
    show(view, seen().map((grey, k) => (mask[k] ? 0.35 : grey)), [0, 1], `the digit, its ${side.get()} half hidden`);
  };
  dependents.push(cover);
  const draw = button("Complete it", () => {
    void task(`${DRAWN} completions are drawn.`, async (signal) => {
      const emit = (/** @type {any} */ step) => row.show(split(step.x0, DRAWN));
      const images = await engine.ask("complete", { ...asked(16), image: seen(), hidden: hidden(), resample: 2 }, { emit, signal });
      row.show(split(images, DRAWN), await readings(page, images));
    });
  }, "primary");
  return block(
    "Half a digit, completed",
    "Diffusion draws what is hidden and leaves the rest as it is. For a half-drawn digit, take away the tick above, and hide the other half.",
    el("div", { class: "ask" }, view, side.element, label.element, draw), row.element,
  );
}

/**
 * The digit under some noise, and what diffusion makes of it.
 *
 * @param {Page} page
 * @param {() => Float32Array} seen
 */
function editing(page, seen) {
  const { engine, shape } = page, task = taskmaster(page.announce), row = gallery(shape, DRAWN, "edit");
  const strength = slider({ name: "strength", label: "Strength", min: 0.05, max: 1, step: 0.05, value: 0.6, format: percent });
  const { label, asked } = drawer(page, "edit", "8");
  const draw = button("Edit it", () => {
    void task(`${DRAWN} edits are drawn.`, async (signal) => {
      const emit = (/** @type {any} */ step) => row.show(split(step.x0, DRAWN));
      const images = await engine.ask("edit", { ...asked(16), image: seen(), strength: strength.value() }, { emit, signal });
      row.show(split(images, DRAWN), await readings(page, images));
    });
  }, "primary");
  return block(
    "Noise added, and taken away",
    "The digit gets noise, up to a share of the way, and diffusion takes it away again: with little it comes back, with all of it nothing is left of it.",
    el("div", { class: "ask" }, strength.element, label.element, draw), row.element,
  );
}
