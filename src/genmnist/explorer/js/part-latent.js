// Latent space: a map of test digits by their codes, a point to drag, and walks between two digits.

import { block, button, choice, el, figure, picture, show } from "./elements.js";
import { bind, remember } from "./state.js";

/** @typedef {import("./page.js").Page} Page */

const WALK = 9; // images of a walk, its ends among them
const MARGIN = 0.06;
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
// Ten hues that can be told apart on white and on black; every mark is a numeral besides.
const HUES = ["#3f87c9", "#d97a1c", "#3a9a4a", "#d1495b", "#8f6cc4", "#9c6b50", "#cf62a8", "#7d828a", "#9a9a1e", "#1b9aaa"];

/** @type {(a: Float32Array, b: Float32Array) => number} */
const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);

/**
 * Build the part.
 *
 * @param {Page} page
 * @param {HTMLElement} place
 */
export function buildLatent(page, place) {
  const { engine, shape, data, codes, digits } = page, { latent, order, directions } = data.vae;
  const names = data.class_names;
  let z = Float32Array.from(codes[0]);
  const ends = [data.labels.indexOf(6), data.labels.indexOf(1)].map((index) => Math.max(index, 0));
  let chosen = 0; // the test digit that the point was last put on
  let moved = false;

  /** @type {[string, string][]} */
  const axes = [
    ["p0", "parts the classes best"], ["p1", "parts them next best"],
    ...order.map((/** @type {number} */ factor) => [`f${factor}`, `factor ${factor}`]),
  ];
  /** @param {string} name */
  const axis = (name) => {
    if (name[0] === "p") return Float32Array.from(directions[Number(name[1])]);
    return Float32Array.from({ length: latent }, (_, k) => Number(k === Number(name.slice(1))));
  };
  const across = choice({ name: "x", label: "Across", list: true, options: axes, value: "p0", change: () => replot() });
  const up = choice({ name: "y", label: "Up", list: true, options: axes, value: "p1", change: () => replot() });

  const map = el("canvas", {
    class: "map", width: 1120, height: 1120, tabindex: 0, role: "application",
    "aria-label": "Map of test digits by their codes. Arrow keys move the point, with shift further; Enter takes it to the nearest digit.",
  });
  const decoded = picture(shape, "the decoded point", "large"), near = picture(shape, "the nearest test digit", "large");
  const words = el("p", { role: "status", class: "verdict" }, "");
  const walks = ["through latent space", "through pixels"].map((way) => ({
    way, canvases: Array.from({ length: WALK }, (_, k) => picture(shape, `step ${k} of ${WALK - 1} ${way}`, "small")),
  }));
  const walkers = el("p", { class: "quiet" }, "");

  /** @type {Float32Array[]} */
  let plane = [];
  /** @type {[number, number][]} */
  let points = [];
  let box = { left: 0, bottom: 0, size: 1 };

  /** @param {Float32Array} code @returns {[number, number]} */
  const flat = (code) => [dot(plane[0], code), dot(plane[1], code)];
  /** Lay the map out anew. */
  function replot() {
    plane = [axis(across.get()), axis(up.get())];
    points = codes.map(flat);
    /** @param {number} which */
    const range = (which) => {
      const sorted = points.map((point) => point[which]).sort((a, b) => a - b);
      return [sorted[Math.floor(sorted.length * 0.002)], sorted[Math.ceil(sorted.length * 0.998) - 1]];
    };
    const [x, y] = [range(0), range(1)], size = Math.max(x[1] - x[0], y[1] - y[0]) * (1 + 2 * MARGIN);
    box = { left: (x[0] + x[1] - size) / 2, bottom: (y[0] + y[1] - size) / 2, size };
    draw();
  }
  /** @param {[number, number]} point @returns {[number, number]} */
  const placed = ([x, y]) => [((x - box.left) / box.size) * map.width, (1 - (y - box.bottom) / box.size) * map.height];

  function draw() {
    const pen = map.getContext("2d");
    if (!pen || !map.clientWidth) return;
    const unit = map.width / map.clientWidth, style = getComputedStyle(map);
    pen.clearRect(0, 0, map.width, map.height);
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.font = `600 ${11 * unit}px ${style.fontFamily}`;
    points.forEach((point, k) => {
      pen.fillStyle = HUES[data.labels[k] % HUES.length];
      pen.fillText(names[data.labels[k]].slice(0, 1), ...placed(point));
    });
    pen.strokeStyle = pen.fillStyle = style.color;
    pen.lineWidth = 1.5 * unit;
    pen.setLineDash([4 * unit, 4 * unit]);
    pen.beginPath();
    pen.moveTo(...placed(points[ends[0]]));
    pen.lineTo(...placed(points[ends[1]]));
    pen.stroke();
    pen.setLineDash([]);
    const [x, y] = placed(flat(z));
    for (const [radius, colour] of /** @type {[number, string][]} */ ([[11, style.backgroundColor], [9, style.color]])) {
      pen.beginPath();
      pen.arc(x, y, radius * unit, 0, 7);
      pen.lineWidth = 3 * unit;
      pen.strokeStyle = colour;
      pen.stroke();
    }
  }

  /**
   * Move the point within the map's plane, the rest of its code as it is.
   *
   * @param {number} x
   * @param {number} y
   */
  function move(x, y) {
    const [a, b] = plane, [aa, ab, bb] = [dot(a, a), dot(a, b), dot(b, b)], at = flat(z);
    const [dx, dy] = [x - at[0], y - at[1]], area = aa * bb - ab * ab;
    const [u, v] = area > 1e-9 ? [(bb * dx - ab * dy) / area, (aa * dy - ab * dx) / area] : [dx / aa, 0];
    z = z.map((value, k) => value + u * a[k] + v * b[k]);
    moved = true;
    remember();
    look();
  }

  /** @returns {number} the test digit whose code is nearest */
  function nearest() {
    let best = 0, least = Infinity;
    codes.forEach((code, k) => {
      const distance = code.reduce((sum, value, factor) => sum + (value - z[factor]) ** 2, 0);
      if (distance < least) [best, least] = [k, distance];
    });
    return best;
  }

  /** Show what the point is. */
  function look() {
    draw();
    const index = nearest();
    show(near, digits[index], [0, 1], `the nearest test digit, ${names[data.labels[index]]}`);
    void engine.latest("point", async () => {
      const images = await engine.ask("decode", { z, count: 1 });
      show(decoded, images);
      const shares = await engine.ask("classify", { images }), best = shares.indexOf(Math.max(...shares));
      words.replaceChildren("Decodes to ", el("strong", {}, names[best]));
      decoded.setAttribute("aria-label", `the decoded point, read as ${names[best]}`);
    });
  }

  /** @param {number} index of a test digit, on which the point is put */
  function jump(index) {
    chosen = index;
    moved = false;
    z = Float32Array.from(codes[index]);
    remember();
    look();
  }

  /** Walk between the two ends. */
  function walk() {
    const [first, last] = ends, shares = Array.from({ length: WALK }, (_, k) => k / (WALK - 1));
    /** @type {(a: Float32Array, b: Float32Array, share: number) => Float32Array} */
    const between = (a, b, share) => a.map((value, k) => (1 - share) * value + share * b[k]);
    walkers.textContent = `From a ${names[data.labels[first]]} (test digit ${first}) to a ${names[data.labels[last]]} (test digit ${last}).`;
    draw();
    void engine.latest("walk", async () => {
      const many = new Float32Array(WALK * latent);
      shares.forEach((share, k) => many.set(between(codes[first], codes[last], share), k * latent));
      const images = await engine.ask("decode", { z: many, count: WALK }), size = images.length / WALK;
      const [start, end] = [images.subarray(0, size), images.subarray(images.length - size)];
      shares.forEach((share, k) => {
        show(walks[0].canvases[k], images.subarray(k * size, (k + 1) * size));
        show(walks[1].canvases[k], between(start, end, share));
      });
    });
  }

  map.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    map.setPointerCapture(event.pointerId);
    follow(event);
  });
  map.addEventListener("pointermove", (event) => {
    if (map.hasPointerCapture(event.pointerId)) follow(event);
  });
  /** @param {PointerEvent} event */
  function follow(event) {
    const frame = map.getBoundingClientRect();
    move(
      box.left + ((event.clientX - frame.left) / frame.width) * box.size,
      box.bottom + (1 - (event.clientY - frame.top) / frame.height) * box.size,
    );
  }
  map.addEventListener("keydown", (event) => {
    const step = KEYS[/** @type {keyof typeof KEYS} */ (event.key)], size = (event.shiftKey ? 0.05 : 0.01) * box.size;
    if (event.key === "Enter") jump(nearest());
    else if (step) move(flat(z)[0] + step[0] * size, flat(z)[1] + step[1] * size);
    else return;
    event.preventDefault();
  });
  bind("at", () => String(chosen), (value) => jump(Math.min(Math.max(Math.round(Number(value)) || 0, 0), codes.length - 1)));
  bind("point", () => (moved ? flat(z).map((value) => value.toFixed(3)).join(",") : ""), (value) => {
    const [x, y] = value.split(",").map(Number);
    if (Number.isFinite(x) && Number.isFinite(y)) move(x, y);
    else jump(chosen);
  });
  bind("walk", () => ends.join("-"), (value) => {
    value.split("-").map(Number).slice(0, 2).forEach((index, k) => {
      if (codes[index]) ends[k] = index;
    });
    walk();
  });
  /** @param {number} which end the nearest digit becomes */
  const end = (which) => () => {
    ends[which] = nearest();
    remember();
    walk();
  };

  place.append(
    el("div", { class: "mapping" },
      el("div", { class: "stack" }, map, el("div", { class: "ask" }, across.element, up.element)),
      el("div", { class: "stack" },
        words,
        el("div", { class: "pair" }, figure(decoded, "what the point decodes to"), figure(near, "the test digit with the nearest code")),
        el("div", { class: "buttons" },
          button("Put the point on that digit", () => jump(nearest())), button("Start the walk there", end(0)), button("End it there", end(1)))),
    ),
    block(
      "A walk between two digits", "On the way through latent space lie digits; on the way through pixels one fades into the other.", walkers,
      ...walks.map(({ way, canvases }) =>
        el("div", { class: "walk", role: "group", "aria-label": `The walk ${way}` }, el("p", { class: "label" }, way), el("div", { class: "strip" }, ...canvases))),
    ),
  );
  replot();
  page.opened.set("latent", () => {
    look();
    walk();
  });
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
