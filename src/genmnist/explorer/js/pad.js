// A pad to draw on by mouse, finger, pen or keys, and what MNIST would have made of the drawing.

import { el } from "./elements.js";

/** @typedef {[number, number][]} Stroke points from 0 to 255 across and down */

const SIDE = 28; // pixels of MNIST
const BOX = 20; // pixels of the box that its digits were scaled into
const PEN = 2.5; // pixels: how thick MNIST's strokes are
const FINE = 8; // parts of a pixel, each way, from which its grey is averaged
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Draw strokes as grey pixels in [0, 1].
 *
 * @param {Stroke[]} strokes
 * @param {(point: [number, number]) => [number, number]} place where a point lies, in pixels
 * @returns {Float32Array}
 */
function drawn(strokes, place) {
  const canvas = new OffscreenCanvas(SIDE * FINE, SIDE * FINE), pen = canvas.getContext("2d", { willReadFrequently: true });
  const pixels = new Float32Array(SIDE * SIDE);
  if (!pen) return pixels;
  pen.scale(FINE, FINE);
  trace(pen, strokes, place, PEN);
  const { data } = pen.getImageData(0, 0, SIDE * FINE, SIDE * FINE);
  for (let k = 0; k < SIDE * FINE * SIDE * FINE; k++) {
    const row = Math.floor(k / (SIDE * FINE) / FINE), column = Math.floor((k % (SIDE * FINE)) / FINE);
    pixels[row * SIDE + column] += data[4 * k + 3] / 255 / FINE ** 2;
  }
  return pixels;
}

/**
 * @param {OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D} pen
 * @param {Stroke[]} strokes
 * @param {(point: [number, number]) => [number, number]} place
 * @param {number} width
 */
function trace(pen, strokes, place, width) {
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = width;
  for (const stroke of strokes) {
    pen.beginPath();
    stroke.forEach((point, k) => (k ? pen.lineTo(...place(point)) : pen.moveTo(...place(point))));
    if (stroke.length === 1) pen.lineTo(...place(stroke[0]));
    pen.stroke();
  }
}

/**
 * Return a drawing as the models see it: pixels in [0, 1].
 *
 * @param {Stroke[]} strokes
 * @param {boolean} centred scaled into a box of 20 × 20 and centred by its mass, as MNIST was; else as it lies
 */
export function prepared(strokes, centred) {
  const unit = SIDE / 256;
  if (!centred || !strokes.length) return drawn(strokes, ([x, y]) => [x * unit, y * unit]);
  const points = strokes.flat();
  const [left, right, top, bottom] = [
    Math.min(...points.map(([x]) => x)), Math.max(...points.map(([x]) => x)),
    Math.min(...points.map(([, y]) => y)), Math.max(...points.map(([, y]) => y)),
  ];
  const scale = Math.min((BOX - PEN) / Math.max(right - left, bottom - top, 1), 4 * unit);
  const middle = [(left + right) / 2, (top + bottom) / 2], half = SIDE / 2;
  const first = drawn(strokes, ([x, y]) => [half + (x - middle[0]) * scale, half + (y - middle[1]) * scale]);
  let mass = 0, across = 0, down = 0;
  first.forEach((grey, k) => {
    mass += grey;
    across += grey * ((k % SIDE) + 0.5);
    down += grey * (Math.floor(k / SIDE) + 0.5);
  });
  const centre = half + 0.5; // in MNIST the middle of pixel 14, the first past the middle of the image
  const shift = [centre - across / mass, centre - down / mass];
  return drawn(strokes, ([x, y]) => [
    half + (x - middle[0]) * scale + shift[0],
    half + (y - middle[1]) * scale + shift[1],
  ]);
}

/**
 * Strokes as text for a link: two letters a point, strokes parted by a dot.
 *
 * @param {Stroke[]} strokes
 */
export const written = (strokes) =>
  strokes.map((stroke) => stroke.map((point) => point.map((v) => Math.round(v / 4).toString(36).padStart(2, "0")).join("")).join("")).join(".");

/**
 * @param {string} text
 * @returns {Stroke[]}
 */
export const read = (text) =>
  text.split(".").filter(Boolean).map((stroke) =>
    (stroke.match(/[0-9a-z]{4}/g) ?? []).map((point) => [
      4 * (parseInt(point.slice(0, 2), 36) || 0),
      4 * (parseInt(point.slice(2), 36) || 0),
    ]),
  );

/** The pad: it tells of every change of its strokes. */
export class Pad {
  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    /** @type {Stroke[]} */
    this.strokes = [];
    /** @type {Float32Array | null} A digit that lies on it instead. */
    this.digit = null;
    /** @type {[number, number]} Where the pen of the keys is. */
    this.pen = [128, 64];
    this.down = false;
    this.canvas = el("canvas", {
      class: "pad", width: 512, height: 512, tabindex: 0, role: "application",
      "aria-label": "Drawing pad. Arrow keys move the pen, with shift further; space lowers and lifts it; delete clears.",
    });
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      this.begin(this.point(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      for (const one of event.getCoalescedEvents?.() ?? [event]) this.extend(this.point(one));
      this.extend(this.point(event));
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => this.draw());
    canvas.addEventListener("blur", () => {
      this.down = false;
      this.draw();
    });
    this.draw();
  }

  /**
   * @param {PointerEvent} event
   * @returns {[number, number]}
   */
  point(event) {
    const box = this.canvas.getBoundingClientRect();
    /** @param {number} share */
    const within = (share) => Math.min(Math.max(256 * share, 0), 255);
    return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
  }

  /** @param {[number, number]} point */
  begin(point) {
    this.digit = null;
    this.strokes.push([point]);
    this.draw();
    this.changed();
  }

  /** @param {[number, number]} point */
  extend(point) {
    const stroke = this.strokes.at(-1), last = stroke?.at(-1);
    if (!stroke || !last || Math.hypot(point[0] - last[0], point[1] - last[1]) < 3) return;
    stroke.push(point);
    this.draw();
    this.changed();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = KEYS[/** @type {keyof typeof KEYS} */ (event.key)], size = event.shiftKey ? 24 : 8;
    if (step) {
      this.pen = [
        Math.min(Math.max(this.pen[0] + step[0] * size, 0), 255),
        Math.min(Math.max(this.pen[1] + step[1] * size, 0), 255),
      ];
      if (this.down) this.extend([...this.pen]);
      else this.draw();
    } else if (event.key === " ") {
      this.down = !this.down;
      if (this.down) this.begin([...this.pen]);
      else this.draw();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
  }

  clear() {
    this.put([]);
  }

  undo() {
    this.put(this.strokes.slice(0, -1));
  }

  /**
   * @param {Stroke[]} strokes
   * @param {Float32Array | null} digit
   */
  put(strokes, digit = null) {
    this.strokes = strokes;
    this.digit = digit;
    this.draw();
    this.changed();
  }

  /** Show what is on the pad. */
  draw() {
    const pen = this.canvas.getContext("2d"), side = this.canvas.width, unit = side / 256;
    if (!pen) return;
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, side, side);
    if (this.digit) {
      this.digit.forEach((grey, k) => {
        const size = side / SIDE, value = Math.round(255 * grey);
        pen.fillStyle = `rgb(${value} ${value} ${value})`;
        if (value) pen.fillRect((k % SIDE) * size, Math.floor(k / SIDE) * size, size + 0.5, size + 0.5);
      });
    }
    pen.strokeStyle = "#fff";
    trace(pen, this.strokes, ([x, y]) => [x * unit, y * unit], (PEN * side) / SIDE);
    if (document.activeElement === this.canvas && this.canvas.matches(":focus-visible")) {
      pen.beginPath();
      pen.arc(this.pen[0] * unit, this.pen[1] * unit, this.down ? 10 : 16, 0, 7);
      pen.lineWidth = 4;
      pen.strokeStyle = "#5aa9e6";
      pen.stroke();
    }
  }
}
