// The noise schedule of genmnist/diffusion/schedules.py: the log-SNR of every timestep, as the exporter tabled it.

export const CLEAN = -1;

/** @param {number} x */
const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** A noise schedule: x_t = alpha x_0 + sigma epsilon with log-SNR lambda = log(alpha² / sigma²). */
export class Schedule {
  /**
   * @param {ArrayLike<number>} logSnrs lambda, falling from timestep 0 to T - 1
   * @param {boolean} straight alpha + sigma = 1 instead of alpha² + sigma² = 1
   */
  constructor(logSnrs, straight) {
    this.logSnrs = logSnrs;
    this.straight = straight;
  }

  get length() {
    return this.logSnrs.length;
  }

  /**
   * Return lambda at timestep `t`, infinite at `CLEAN`.
   *
   * @param {number} t
   */
  logSnr(t) {
    if (t < 0) return Infinity;
    const below = Math.min(Math.max(Math.floor(t), 0), this.length - 2);
    const start = this.logSnrs[below], end = this.logSnrs[below + 1];
    return start + (t - below) * (end - start);
  }

  /**
   * Return the share of the image in x_t.
   *
   * @param {number} t
   */
  alpha(t) {
    const lambda = this.logSnr(t);
    return this.straight ? sigmoid(lambda / 2) : Math.sqrt(sigmoid(lambda));
  }

  /**
   * Return the share of the noise in x_t.
   *
   * @param {number} t
   */
  sigma(t) {
    const lambda = this.logSnr(t);
    return this.straight ? sigmoid(-lambda / 2) : Math.sqrt(sigmoid(-lambda));
  }

  /**
   * Return the timestep at which lambda is `logSnr`, clamped to the table.
   *
   * @param {number} logSnr
   */
  timestep(logSnr) {
    let above = 1;
    while (above < this.length - 1 && this.logSnrs[above] > logSnr) above++;
    const left = -this.logSnrs[above - 1], right = -this.logSnrs[above];
    return above - 1 + Math.min(Math.max((-logSnr - left) / (right - left), 0), 1);
  }
}
