// What every part of the page gets.

/**
 * @typedef {object} Data what the exporter put into the page
 * @property {string} version
 * @property {number[]} shape
 * @property {string[]} class_names
 * @property {number[]} labels of the test digits
 * @property {import("./models.js").DiffusionInfo[]} diffusion
 * @property {any} vae
 * @property {Record<string, any>} evaluations
 * @property {string} made what it was made of, in words
 */

/**
 * @typedef {object} Page
 * @property {import("./client.js").Engine} engine
 * @property {Data} data
 * @property {number[]} shape
 * @property {Float32Array[]} digits test digits, pixels in [0, 1]
 * @property {Float32Array[]} codes of the test digits
 * @property {(text: string) => void} announce says something to those who listen to the page
 * @property {Map<string, () => void>} opened what to do when a part is first shown
 */

export {};
