// Which cluster a sample is to be of: genmnist/models/clusters.py.

import { derive } from "./randomness.js";

const GOLDEN = (Math.sqrt(5) - 1) / 2;

/**
 * Return the clusters of samples `first` … `first + count - 1` under `seed`, evenly.
 *
 * @param {number[]} shares of each cluster
 * @param {number} seed
 * @param {number} first
 * @param {number} count
 */
export function deal(shares, seed, first, count) {
  const start = Number(derive(seed, "clusters")) / 2 ** 63, all = shares.reduce((sum, one) => sum + one, 0);
  return Array.from({ length: count }, (_, k) => {
    let left = ((start + (first + k) * GOLDEN) % 1) * all;
    const cluster = shares.findIndex((share) => (left -= share) < 0);
    return cluster < 0 ? shares.length - 1 : cluster;
  });
}
