/** Fetches the state again and again, less often while the answers are errors. */

import { doubled, roughly, Timer } from "./timer.js";

/** @typedef {"answered" | "missing" | "failed"} Answer */

const LONGEST_WAIT = 30_000;
const RESTING_INTERVAL = 4_000;

export class Poller {
  #options;
  #timer;
  /** @type {object | undefined} the loop that runs: the late answer to a stopped one must not continue the next */
  #loop;

  /**
   * @param {object} options
   * @param {number} options.interval milliseconds between two requests
   * @param {() => number} options.crowdInterval milliseconds between two requests at least, while a crowd polls
   * @param {() => boolean} options.isResting whether nothing is under way: then it polls less often
   * @param {() => Promise<Answer>} options.fetchState
   * @param {(answer: Answer, isBack: boolean) => void} options.onAnswer may stop the poller. `isBack`: this is the first
   *   answer after failures
   * @param {import("./timer.js").Clock} options.clock
   * @param {import("./timer.js").Random} options.random
   */
  constructor(options) {
    this.#options = options;
    this.#timer = new Timer(options.clock, () => void this.#poll());
    this.errors = 0; // since the last answer
  }

  get isOn() {
    return this.#loop !== undefined;
  }

  /**
   * Start within an interval, at a random moment: a server that stops closes all its sockets at once.
   *
   * @param {number} least milliseconds that the link waits at least, where the server has many others to answer
   */
  startSoon(least) {
    const { interval, random } = this.#options;
    if (!this.isOn && !this.#timer.isPending) this.#timer.start(Math.max((interval * (1 + random())) / 2, least));
  }

  /** Poll at once, and then again and again. */
  start() {
    if (this.isOn) return;
    this.#timer.stop();
    void this.#poll();
  }

  stop() {
    this.#timer.stop();
    this.#loop = undefined;
    this.errors = 0;
  }

  async #poll() {
    const { crowdInterval, fetchState, interval, isResting, onAnswer, random } = this.#options;
    const loop = (this.#loop ??= {});
    const answer = await fetchState();
    if (this.#loop !== loop) return;
    const isBack = answer === "answered" && this.errors > 0;
    this.errors = answer === "answered" ? 0 : this.errors + 1;
    onAnswer(answer, isBack);
    if (this.#loop !== loop) return;
    const usual = Math.max(interval, crowdInterval(), isResting() ? RESTING_INTERVAL : 0);
    this.#timer.start(roughly(doubled(usual, this.errors, LONGEST_WAIT), random));
  }
}
