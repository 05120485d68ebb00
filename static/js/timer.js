/** Timers that can be started again and stopped, and the waits between attempts as functions. */

/**
 * The parts of a clock that this code needs. Tests pass one that they move by hand.
 *
 * @typedef {object} Clock
 * @property {() => number} now milliseconds; never set back
 * @property {(task: () => void, milliseconds: number) => number} setTimeout
 * @property {(id: number) => void} clearTimeout
 */

/** A number from 0 to 1, as `Math.random`. @typedef {() => number} Random */

/** @type {Clock} the browser's; looked up at each call, so that a test may replace it under an open page */
export const browserClock = {
  now: () => performance.now(),
  setTimeout: (task, milliseconds) => window.setTimeout(task, milliseconds),
  clearTimeout: (id) => window.clearTimeout(id),
};

/** Runs one task after a while. It has at most one run ahead of it. */
export class Timer {
  #clock;
  #task;
  /** @type {number | undefined} */
  #id;

  /** @param {Clock} clock @param {() => void} task */
  constructor(clock, task) {
    this.#clock = clock;
    this.#task = task;
  }

  get isPending() {
    return this.#id !== undefined;
  }

  /** Run the task after `milliseconds`, and not when it was planned before. @param {number} milliseconds */
  start(milliseconds) {
    this.stop();
    this.#id = this.#clock.setTimeout(() => {
      this.#id = undefined;
      this.#task();
    }, milliseconds);
  }

  stop() {
    if (this.#id !== undefined) this.#clock.clearTimeout(this.#id);
    this.#id = undefined;
  }
}

/**
 * The wait `base`, doubled for each failure up to `longest`.
 *
 * @param {number} base @param {number} failures @param {number} longest
 */
export const doubled = (base, failures, longest) => Math.min(base * 2 ** failures, longest);

/**
 * Between 80 and 100 % of a wait. Enough where pages are apart already.
 *
 * @param {number} milliseconds @param {Random} random
 */
export const roughly = (milliseconds, random) => milliseconds * (0.8 + 0.2 * random());
