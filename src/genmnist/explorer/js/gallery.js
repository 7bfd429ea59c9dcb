// Rows of images that are being drawn, and one thing that draws at a time.

import { Cancelled } from "./client.js";
import { el, figure, picture, show } from "./elements.js";

/**
 * A row of images with words under each.
 *
 * @param {number[]} shape
 * @param {number} count
 * @param {string} kind what they are, for those who cannot see them
 */
export function gallery(shape, count, kind) {
  const canvases = Array.from({ length: count }, (_, k) => picture(shape, `${kind} ${k + 1}`, "small"));
  const captions = canvases.map(() => el("span", {}, "…"));
  const element = el("div", { class: "images", hidden: true }, ...canvases.map((canvas, k) => figure(canvas, captions[k])));
  return {
    element,
    /**
     * @param {Float32Array[]} images pixels in [-1, 1]
     * @param {string[]} [told] what to say of each
     */
    show(images, told) {
      element.hidden = false;
      images.forEach((image, k) => {
        const words = told?.[k] ?? `${k + 1}`;
        show(canvases[k], image, [-1, 1], `${kind}: ${words}`);
        captions[k].textContent = words;
      });
    },
  };
}

/**
 * Part images that lie one after the other.
 *
 * @param {Float32Array} images
 * @param {number} count
 */
export const split = (images, count) =>
  Array.from({ length: count }, (_, k) => images.subarray((k * images.length) / count, ((k + 1) * images.length) / count));

/**
 * Return a function that does one task at a time: a new one calls the last one off.
 *
 * @param {(words: string) => void} announce told what came of it
 */
export function taskmaster(announce) {
  /** @type {AbortController | null} */
  let doing = null;
  /**
   * @param {string} done what to say at the end
   * @param {(signal: AbortSignal) => Promise<void>} task
   */
  return async (done, task) => {
    doing?.abort();
    const own = (doing = new AbortController());
    try {
      await task(own.signal);
      announce(done);
    } catch (error) {
      if (!(error instanceof Cancelled)) announce(String(error));
    }
  };
}
