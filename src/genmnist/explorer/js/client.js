// The page's side of the worker: a call is a promise, its steps come as they are made.

/** @typedef {import("./models.js").How} How */

export class Cancelled extends Error {}

/** Asks the worker, one request after the other. */
export class Engine {
  /** @param {Worker} worker */
  constructor(worker) {
    this.worker = worker;
    this.last = 0;
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void, emit?: (part: any) => void}>} */
    this.waiting = new Map();
    /** @type {Map<string, {busy: boolean, next: (() => void) | null}>} */
    this.lanes = new Map();
    worker.onmessage = ({ data }) => {
      const asked = this.waiting.get(data.id);
      if (!asked) return;
      if (data.part !== undefined) return void asked.emit?.(data.part);
      this.waiting.delete(data.id);
      if (data.error === undefined) asked.resolve(data.result);
      else asked.reject(data.error === "cancelled" ? new Cancelled() : new Error(data.error));
    };
  }

  /**
   * Ask for something.
   *
   * @param {string} call
   * @param {any} args
   * @param {{emit?: (part: any) => void, signal?: AbortSignal}} [how] who gets each step, and what calls it off
   * @returns {Promise<any>}
   */
  ask(call, args, { emit, signal } = {}) {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, emit });
      this.worker.postMessage({ id, call, args });
      signal?.addEventListener("abort", () => this.worker.postMessage({ cancel: id }), { once: true });
    });
  }

  /**
   * Do the newest of many wishes: while one is being done, only the last of those that came meanwhile is kept.
   *
   * @param {string} lane wishes of one lane replace each other
   * @param {() => Promise<void>} wish
   */
  async latest(lane, wish) {
    const state = this.lanes.get(lane) ?? { busy: false, next: null };
    this.lanes.set(lane, state);
    if (state.busy) {
      state.next = () => void this.latest(lane, wish);
      return;
    }
    state.busy = true;
    try {
      await wish();
    } finally {
      state.busy = false;
      const next = state.next;
      state.next = null;
      next?.();
    }
  }
}
