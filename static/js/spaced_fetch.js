/**
 * Fetches something some time after it was asked to. All pages that watch a dataset want the same in the same moment, so
 * each takes a moment of its own. After a failure it waits ever longer.
 */

import { doubled, Timer } from "./timer.js";

const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;

export class SpacedFetch {
  #options;
  #timer;
  /** @type {object | undefined} what was asked for and is not there yet; a cancelled one is not continued */
  #job;
  #isFetching = false;
  #isAskedAgain = false;
  #failures = 0;
  #notBefore = 0;

  /**
   * @param {object} options
   * @param {() => Promise<boolean>} options.fetch resolves to whether it was to be had
   * @param {() => void} options.onAskedAgain called after a fetch during which it was asked for once more: the answer may
   *   be older than the question
   * @param {number} options.perWatcher milliseconds that the server takes for the fetch of one page
   * @param {number} options.apart the least milliseconds between two fetches
   * @param {import("./timer.js").Clock} options.clock
   * @param {import("./timer.js").Random} options.random
   */
  constructor(options) {
    this.#options = options;
    this.#timer = new Timer(options.clock, () => void this.#run());
    this.watchers = 0; // how many pages will fetch the same
  }

  request() {
    const { clock, perWatcher, random } = this.#options;
    this.#isAskedAgain = this.#isFetching;
    if (this.#job) return;
    this.#job = {};
    this.#timer.start(Math.max(random() * this.watchers * perWatcher, this.#notBefore - clock.now()));
  }

  cancel() {
    this.#timer.stop();
    this.#job = undefined;
    this.#isFetching = this.#isAskedAgain = false;
  }

  async #run() {
    const { apart, clock, fetch, onAskedAgain } = this.#options;
    const job = this.#job;
    this.#isFetching = true;
    const isDone = await fetch();
    if (this.#job !== job) return;
    const isAskedAgain = this.#isAskedAgain;
    this.cancel();
    this.#failures = isDone ? 0 : this.#failures + 1;
    this.#notBefore = clock.now() + (isDone ? apart : doubled(FIRST_WAIT, this.#failures, LONGEST_WAIT));
    if (isAskedAgain) onAskedAgain();
  }
}
