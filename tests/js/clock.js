/** A clock that tests move by hand. */

export class FakeClock {
  #now = 0;
  #lastId = 0;
  /** @type {Map<number, {due: number, task: () => void}>} */
  #timers = new Map();

  now = () => this.#now;

  /** @param {() => void} task @param {number} milliseconds */
  setTimeout = (task, milliseconds) => {
    this.#lastId += 1;
    this.#timers.set(this.#lastId, { due: this.#now + Math.max(milliseconds, 0), task });
    return this.#lastId;
  };

  /** @param {number} id */
  clearTimeout = (id) => {
    this.#timers.delete(id);
  };

  /** How many timers are pending. */
  get pending() {
    return this.#timers.size;
  }

  /** Let time pass; what is due runs at its time, and answers come in between. @param {number} milliseconds */
  async pass(milliseconds) {
    const end = this.#now + milliseconds;
    await settle();
    for (;;) {
      const [next] = [...this.#timers].filter(([, { due }]) => due <= end).sort(([, a], [, b]) => a.due - b.due);
      if (!next) break;
      const [id, { due, task }] = next;
      this.#timers.delete(id);
      this.#now = Math.max(this.#now, due);
      task();
      await settle();
    }
    this.#now = end;
  }
}

/** Let promises that are resolved go on. */
export async function settle() {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
}
