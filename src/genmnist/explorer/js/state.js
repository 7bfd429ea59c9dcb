// What the page shows, in the fragment of its address, so that a link shows the same.

/** @typedef {{initial: () => string, get: () => string, set: (value: string) => void}} Bound */

/** @type {Map<string, Bound>} */
const bound = new Map();
let timer = 0;

/**
 * Let the fragment hold a value under a name, unless it is what it was at first.
 *
 * @param {string} name
 * @param {() => string} get
 * @param {(value: string) => void} set called when a fragment names another value
 * @param {() => string} [initial] where what it is at first depends on other values
 */
export function bind(name, get, set, initial) {
  const first = get();
  bound.set(name, { initial: initial ?? (() => first), get, set });
}

/** Write the fragment, a little later: a slider moves often. */
export function remember() {
  clearTimeout(timer);
  timer = window.setTimeout(() => history.replaceState(null, "", `#${fragment()}`), 150);
}

/** Return the fragment of what is shown. */
export function fragment() {
  const values = new URLSearchParams();
  for (const [name, { initial, get }] of bound) if (get() !== initial()) values.set(name, get());
  return values.toString();
}

/** Show what the address asks for. */
export function recall() {
  const values = new URLSearchParams(location.hash.slice(1));
  for (const [name, { initial, get, set }] of bound) {
    const wanted = values.get(name) ?? initial();
    if (wanted !== get()) set(wanted);
  }
}
