// The page: it unpacks what it carries, starts the worker, and builds its parts.

import { Engine } from "./client.js";
import { unpack } from "./packing.js";
import { buildDiffusion } from "./part-diffusion.js";
import { buildDraw } from "./part-draw.js";
import { buildLatent } from "./part-latent.js";
import { buildMeasure } from "./part-measure.js";
import { bind, recall, remember } from "./state.js";

/** @param {string} id */
const text = (id) => document.getElementById(id)?.textContent ?? "";
/** @param {string} id */
const at = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const PARTS = ["draw", "latent", "diffusion", "measure"];

async function main() {
  const data = JSON.parse(text("data"));
  // A classic worker: from a file Chromium starts none of type module.
  const worker = new Worker(URL.createObjectURL(new Blob([text("engine")], { type: "text/javascript" })));
  worker.onerror = (event) => fail(event.message);
  const engine = new Engine(worker);
  /** @type {Record<string, string>} */
  const packed = {};
  for (const script of document.querySelectorAll("script[data-packed]")) {
    packed[script.id] = script.textContent ?? "";
    script.remove(); // the worker has it now
  }
  const { digits: greys = "", codes: numbers = "", ...graphs } = packed;
  void engine.ask("begin", { packed: graphs, diffusion: data.diffusion, shape: data.shape });
  const pixels = data.shape[0] * data.shape[1] * data.shape[2];
  const [bytes, floats] = await Promise.all([unpack(greys), data.vae ? unpack(numbers) : null]);
  /** @type {(array: Float32Array, size: number) => Float32Array[]} */
  const parted = (array, size) => Array.from({ length: array.length / size }, (_, k) => array.subarray(k * size, (k + 1) * size));
  /** @type {import("./page.js").Page} */
  const page = {
    engine, data, shape: data.shape,
    digits: parted(Float32Array.from(bytes, (grey) => grey / 255), pixels),
    codes: floats ? parted(new Float32Array(floats.buffer, 0, floats.byteLength / 4), data.vae.latent) : [],
    announce: (words) => (at("announcement").textContent = words),
    opened: new Map(),
  };
  buildDraw(page, at("draw-body"));
  if (data.vae) buildLatent(page, at("latent-body"));
  if (data.diffusion.length) buildDiffusion(page, at("diffusion-body"));
  buildMeasure(page, at("measure-body"));

  let shown = PARTS[0];
  /** @param {string} name */
  const open = (name) => {
    shown = PARTS.includes(name) && document.getElementById(name) ? name : PARTS[0];
    for (const part of PARTS) {
      const section = document.getElementById(part);
      if (section) section.hidden = part !== shown;
      document.querySelector(`nav a[href="#part=${part}"]`)?.setAttribute("aria-current", part === shown ? "page" : "false");
    }
    page.opened.get(shown)?.();
  };
  bind("part", () => shown, open);
  for (const link of document.querySelectorAll("nav a")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      open(link.getAttribute("href")?.split("=")[1] ?? "");
      remember();
    });
  }
  recall();
  open(shown);
  addEventListener("hashchange", recall);
  document.documentElement.dataset.ready = "yes";
  await engine.ask("warm", { graphs: Object.keys(graphs).filter((name) => name.startsWith("vae-")) });
}

/** @param {unknown} error */
function fail(error) {
  at("announcement").textContent = `This browser cannot show the page: ${error instanceof Error ? error.message : error}`;
  at("announcement").className = "failed";
}

main().catch(fail);
