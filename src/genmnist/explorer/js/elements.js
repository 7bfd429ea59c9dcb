// The pieces that the page is made of: elements, digits, and controls that are labelled and remembered.

import { bind, remember } from "./state.js";

let serial = 0;

/**
 * Make an element.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [given] attributes; what begins with "on" is a listener
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}

/**
 * A canvas that shows one image, each pixel a square.
 *
 * @param {number[]} shape channels, height, width
 * @param {string} label for those who cannot see it
 * @param {string} [kind] of its size: large, middle, small
 */
export function picture(shape, label, kind = "middle") {
  return el("canvas", { class: `digit ${kind}`, width: shape[2], height: shape[1], role: "img", "aria-label": label });
}

/**
 * Show an image on its canvas.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {ArrayLike<number>} pixels channel by channel
 * @param {[number, number]} [range] which values are black and white
 * @param {string} [label] what it shows now
 */
export function show(canvas, pixels, [low, high] = [0, 1], label) {
  const { width, height } = canvas, all = width * height, colour = pixels.length === 3 * all;
  const image = new ImageData(width, height);
  for (let k = 0; k < all; k++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * k + c] = Math.round(((pixels[colour ? c * all + k : k] - low) / (high - low)) * 255);
    }
    image.data[4 * k + 3] = 255;
  }
  brush(canvas)?.putImageData(image, 0, 0);
  if (label !== undefined) canvas.setAttribute("aria-label", label);
}

/**
 * A canvas of a few pixels is best kept where the processor has it.
 *
 * @param {HTMLCanvasElement} canvas
 */
const brush = (canvas) => canvas.getContext("2d", { willReadFrequently: true });

/**
 * @typedef {object} Control
 * @property {HTMLElement} element
 * @property {() => string} get
 * @property {(value: string, quiet?: boolean) => void} set
 */

/**
 * A slider with its value beside its label.
 *
 * @param {object} given
 * @param {string} [given.name] in the fragment; without one it is not remembered
 * @param {string} given.label
 * @param {number} given.min
 * @param {number} given.max
 * @param {number} given.step
 * @param {number} given.value
 * @param {(value: number) => string} [given.format]
 * @param {(value: number) => void} [given.change]
 * @param {() => string} [given.initial] see `bind`
 * @returns {Control & {value: () => number, input: HTMLInputElement}}
 */
export function slider({ name, label, min, max, step, value, format = String, change, initial }) {
  const id = `control-${++serial}`;
  const input = el("input", { type: "range", id, min, max, step, value });
  const output = el("output", { for: id });
  const tell = () => {
    output.textContent = format(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
    const share = (Number(input.value) - Number(input.min)) / (Number(input.max) - Number(input.min) || 1);
    input.style.setProperty("--share", `${100 * share}%`);
  };
  /** @type {(value: string, quiet?: boolean) => void} */
  const set = (wanted, quiet = false) => {
    input.value = wanted;
    tell();
    if (!quiet) change?.(Number(input.value));
  };
  input.addEventListener("input", () => {
    tell();
    remember();
    change?.(Number(input.value));
  });
  tell();
  const get = () => input.value;
  if (name) bind(name, get, set, initial);
  const element = el("div", { class: "control slider" }, el("label", { for: id }, label), output, input);
  return { element, get, set, value: () => Number(input.value), input };
}

/**
 * A choice out of a few: radio buttons that look like one bar, or a list.
 *
 * @param {object} given
 * @param {string} [given.name]
 * @param {string} given.label
 * @param {[string, string][]} given.options values and what they are called
 * @param {string} given.value
 * @param {boolean} [given.list]
 * @param {(value: string) => void} [given.change]
 * @param {() => string} [given.initial] see `bind`
 * @returns {Control}
 */
export function choice({ name, label, options, value, list = false, change, initial }) {
  const id = `control-${++serial}`;
  /** @type {() => string} */
  let get;
  /** @type {(value: string) => void} */
  let put;
  /** @type {HTMLElement} */
  let element;
  const changed = () => {
    remember();
    change?.(get());
  };
  if (list) {
    const select = el("select", { id, onchange: changed });
    for (const [option, text] of options) select.append(el("option", { value: option }, text));
    get = () => select.value;
    put = (wanted) => {
      if (options.some(([option]) => option === wanted)) select.value = wanted;
    };
    element = el("div", { class: "control" }, el("label", { for: id }, label), select);
  } else {
    const inputs = options.map(([option]) => el("input", { type: "radio", name: id, value: option, onchange: changed }));
    const bar = el("div", { class: "bar" });
    options.forEach(([, text], place) => bar.append(el("label", {}, inputs[place], el("span", {}, text))));
    get = () => inputs.find((input) => input.checked)?.value ?? value;
    put = (wanted) => inputs.forEach((input) => (input.checked = input.value === wanted));
    element = el("fieldset", { class: "control" }, el("legend", {}, label), bar);
  }
  put(value);
  /** @type {(value: string, quiet?: boolean) => void} */
  const set = (wanted, quiet = false) => {
    put(wanted);
    if (!quiet) change?.(get());
  };
  if (name) bind(name, get, set, initial);
  return { element, get, set };
}

/**
 * A whole number to type.
 *
 * @param {object} given
 * @param {string} [given.name]
 * @param {string} given.label
 * @param {number} given.min
 * @param {number} given.max
 * @param {number} given.value
 * @param {(value: number) => void} [given.change]
 * @returns {Control & {value: () => number}}
 */
export function number({ name, label, min, max, value, change }) {
  const id = `control-${++serial}`;
  const input = el("input", { type: "number", id, min, max, step: 1, value, inputmode: "numeric" });
  const read = () => Math.round(Math.min(Math.max(Number(input.value) || 0, min), max));
  input.addEventListener("change", () => {
    input.value = String(read());
    remember();
    change?.(read());
  });
  /** @type {(value: string, quiet?: boolean) => void} */
  const set = (wanted, quiet = false) => {
    input.value = wanted;
    input.value = String(read());
    if (!quiet) change?.(read());
  };
  const get = () => String(read());
  if (name) bind(name, get, set);
  const element = el("div", { class: "control" }, el("label", { for: id }, label), input);
  return { element, get, set, value: read };
}

/**
 * A button.
 *
 * @param {string} text
 * @param {() => void} click
 * @param {string} [kind]
 */
export const button = (text, click, kind = "") => el("button", { type: "button", class: kind, onclick: click }, text);

/**
 * A picture with words under it.
 *
 * @param {Node} shown
 * @param {string | Node} words
 */
export const figure = (shown, words) => el("figure", {}, shown, el("figcaption", {}, words));

/**
 * A part of a page's section: a heading, a sentence, and what belongs to it.
 *
 * @param {string} title
 * @param {string} text
 * @param {...(Node | string)} children
 */
export function block(title, text, ...children) {
  const id = `block-${++serial}`;
  return el("section", { class: "block", "aria-labelledby": id }, el("h3", { id }, title), el("p", { class: "lead" }, text), ...children);
}
