// Measure: the report's claims as small experiments, beside what was measured on thousands of images.

import { block, button, el } from "./elements.js";
import { split, taskmaster } from "./gallery.js";

/** @typedef {import("./page.js").Page} Page */
/** @typedef {import("./models.js").DiffusionInfo} Info */

const PER_LABEL = 2; // images of each label and strength
const NUM = 10; // images of each number of steps
const FINE = 64; // steps that stand for the end of the path
const STRENGTHS = [0, 1, 3, 8];
const STEPS = [1, 2, 4, 8, 16, 32];

/** @param {number} share */
const percent = (share) => `${Math.round(100 * share)} %`;

/**
 * A table that fills row by row.
 *
 * @param {string} caption
 * @param {string[]} heads
 * @param {string[]} names of the rows
 */
function table(caption, heads, names) {
  const cells = names.map(() => heads.slice(1).map(() => el("td", {}, "–")));
  const element = el("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: 0 },
    el("table", {}, el("caption", {}, caption),
      el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, ...names.map((name, row) => el("tr", {}, el("th", { scope: "row" }, name), ...cells[row])))));
  return {
    element,
    /**
     * @param {number} row
     * @param {number} column
     * @param {string} text
     * @param {number} [share] of the cell's width, for its bar
     */
    put(row, column, text, share) {
      const cell = cells[row][column];
      cell.textContent = text;
      if (share !== undefined) cell.style.setProperty("--bar", `${100 * Math.min(Math.max(share, 0), 1)}%`);
    },
  };
}

/**
 * Root of the mean square difference of two images in [-1, 1], in grey levels.
 *
 * @param {Float32Array} a
 * @param {Float32Array} b
 */
const apart = (a, b) => 127.5 * Math.sqrt(a.reduce((sum, value, k) => sum + (value - b[k]) ** 2, 0) / a.length);

/**
 * Build the part.
 *
 * @param {Page} page
 * @param {HTMLElement} place
 */
export function buildMeasure(page, place) {
  const { engine, data } = page;
  /** @param {Info} info */
  const suited = (info) => ({ ...info.sampling[info.sampler], sampler: info.sampler, variance: "beta", guidance: 0 });
  /** @param {Float32Array} images */
  const read = async (images) => {
    const shares = await engine.ask("classify", { images: images.map((value) => Math.min(Math.max((value + 1) / 2, 0), 1)) });
    return split(shares, shares.length / data.class_names.length);
  };
  const conditional = data.diffusion.find((one) => one.classes && !one.few.length);
  if (conditional) place.append(guidance(conditional));
  const plain = data.diffusion.find((one) => !one.classes) ?? conditional;
  if (plain) place.append(steps(plain));
  place.append(measured());

  /** @param {Info} info */
  function guidance(info) {
    const sweep = data.evaluations[info.name]?.guidance_sweep ?? [], classes = info.classes, num = PER_LABEL * classes;
    const rows = table(
      `Guidance w, here by ${num} digits, and as measured by genmnist evaluate`,
      ["w", "label kept, here", "two of a label differ by, here", "label kept, measured", "precision", "recall (diversity)"],
      STRENGTHS.map((w) => String(w)),
    );
    for (const { strength, label_agreement, precision, recall } of sweep) {
      const row = STRENGTHS.indexOf(strength);
      if (row < 0) continue;
      [label_agreement, precision, recall].forEach((value, column) => rows.put(row, 2 + column, column ? value.toFixed(3) : `${(100 * value).toFixed(1)} %`, value));
    }
    const task = taskmaster(page.announce), labels = Array.from({ length: classes }, (_, k) => k);
    const run = button("Run it here", () => {
      void task("The experiment with guidance is done.", async (signal) => {
        for (const [row, w] of STRENGTHS.entries()) {
          rows.put(row, 0, "drawing …");
          const asked = { model: info.name, how: { ...suited(info), guidance: w }, labels, seed: 0, first: 0, count: num };
          const { x } = await engine.ask("trace", asked, { signal }), images = split(x, num);
          const kept = (await read(x)).filter((shares, k) => shares.indexOf(Math.max(...shares)) === k % classes).length;
          const distances = labels.map((label) => apart(images[label], images[label + classes]));
          const mean = distances.reduce((sum, one) => sum + one, 0) / classes;
          rows.put(row, 0, `${kept} of ${num}`, kept / num);
          rows.put(row, 1, `${mean.toFixed(0)} grey levels`, mean / 128);
        }
      });
    }, "primary");
    return block("Guidance makes digits truer to their label, and alike", "With more guidance fewer digits miss their label, and two of one label differ less.", el("div", { class: "buttons" }, run), rows.element);
  }

  /** @param {Info} info */
  function steps(info) {
    const rows = table(
      `Steps of ${info.sampler}, by ${NUM} digits from the same noise`,
      ["steps", "calls a digit", `away from ${FINE} steps, here`, "how sure the classifier is, here"],
      STEPS.map((count) => String(count)),
    );
    const task = taskmaster(page.announce);
    const run = button("Run it here", () => {
      void task("The experiment with steps is done.", async (signal) => {
        /** @type {(count: number) => Promise<{x: Float32Array, calls: number}>} */
        const drawn = (count) =>
          engine.ask("trace", { model: info.name, how: { ...suited(info), steps: count, eta: 0, sampler: info.sampler === "ddim" ? "dpm-solver" : info.sampler }, labels: [], seed: 0, first: 0, count: NUM }, { signal });
        rows.put(0, 0, "drawing …");
        const fine = split((await drawn(FINE)).x, NUM);
        for (const [row, count] of STEPS.entries()) {
          const { x, calls } = await drawn(count), images = split(x, NUM);
          const mean = images.reduce((sum, image, k) => sum + apart(image, fine[k]), 0) / NUM;
          const sure = (await read(x)).reduce((sum, shares) => sum + Math.max(...shares), 0) / NUM;
          rows.put(row, 0, String(calls));
          rows.put(row, 1, `${mean.toFixed(1)} grey levels`, mean / 128);
          rows.put(row, 2, percent(sure), sure);
        }
      });
    }, "primary");
    return block("More steps come nearer, at the price of calls", "From the same noise a solver of few steps ends elsewhere than one of many; after a while further steps change little.", el("div", { class: "buttons" }, run), rows.element);
  }

  function measured() {
    const found = Object.entries(data.evaluations);
    const rows = table(
      "What genmnist evaluate measured of these models",
      ["model", "Fréchet distance (95 % interval)", "of as many real digits", "images", "sharpness of edges", "of real digits"],
      found.map(([name]) => name),
    );
    found.forEach(([, one], row) => {
      const { value, low, high } = one.frechet;
      const texts = [`${value.toPrecision(3)} (${low.toPrecision(3)} to ${high.toPrecision(3)})`, one.real.toPrecision(3), one.num.toLocaleString("en"), one.sharpness[0].toFixed(2), one.sharpness[1].toFixed(2)];
      texts.forEach((text, column) => rows.put(row, column, text));
    });
    const part = block("How near they come", found.length ? "The distance between many samples and the test digits, in the features of the bundled classifier: smaller is better, and it depends on how many images there are." : "These models were not measured yet: genmnist evaluate does it.", rows.element);
    rows.element.hidden = !found.length;
    return part;
  }
}
