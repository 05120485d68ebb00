/** A link in a world of its own: the clock is moved by hand, and sockets and answers are what the test says. */

import { Link } from "../../static/js/link.js";
import { FakeClock, settle } from "./clock.js";

/** @typedef {import("../../static/js/poller.js").Answer} Answer */

export const MISSING = 4404;
export const FULL = 4429;
export const INTERVAL = 2_000;
export const ATTEMPTS = 5;
export const SILENCE = 15_000;
export const PER_SOCKET = 5;
export const PER_POLL = 1;

export class FakeSocket {
  /** @type {((event: any) => void) | null} */
  onmessage = null;
  /** @type {((event: any) => void) | null} */
  onclose = null;
  isClosed = false;

  /** @param {number} at when it is opened */
  constructor(at) {
    this.at = at;
  }

  /** @param {string} data */
  say(data = "news") {
    this.onmessage?.({ data });
  }

  /** The server or the network closes it. @param {number} code */
  break(code = 1006) {
    this.isClosed = true;
    this.onclose?.({ code });
  }

  close() {
    this.isClosed = true;
  }
}

/** An answer that is on its way. */
class Question {
  /** @param {number} at @param {AbortSignal} signal */
  constructor(at, signal) {
    this.at = at;
    this.signal = signal;
    this.isOver = false;
    /** @type {Promise<Answer>} */
    this.answer = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  /** @param {Answer} answer */
  give(answer) {
    this.isOver = true;
    this.resolve?.(answer);
  }

  /** @param {Error} error */
  fail(error) {
    this.isOver = true;
    this.reject?.(error);
  }
}

export class World {
  clock = new FakeClock();
  /** @type {FakeSocket[]} all that were ever opened */
  sockets = [];
  /** @type {Question[]} all that were ever asked */
  questions = [];
  /** @type {Answer | null} what every question is answered with at once; null: it waits until the test answers */
  answer = "answered";
  /** @type {string[]} */
  messages = [];
  /** @type {import("../../static/js/link.js").Status[]} */
  statuses = [];
  reachable = 0;
  isResting = false;

  /** @param {{random?: () => number, attempts?: number}} options */
  constructor({ random = () => 0.5, attempts = ATTEMPTS } = {}) {
    this.link = new Link({
      attempts,
      interval: INTERVAL,
      silence: SILENCE,
      perSocket: PER_SOCKET,
      perPoll: PER_POLL,
      closeCodes: { missing: MISSING, full: FULL },
      openSocket: () => {
        const socket = new FakeSocket(this.clock.now());
        this.sockets.push(socket);
        return socket;
      },
      fetchState: (signal) => {
        const question = new Question(this.clock.now(), signal);
        this.questions.push(question);
        if (this.answer) question.give(this.answer);
        return question.answer;
      },
      isResting: () => this.isResting,
      onMessage: (message) => void this.messages.push(message),
      onStatus: (status) => void this.statuses.push(status),
      onReachable: () => void (this.reachable += 1),
      clock: this.clock,
      random,
    });
  }

  get state() {
    return this.link.state;
  }

  get status() {
    return this.statuses.at(-1);
  }

  /** The socket that was opened last. */
  get socket() {
    return /** @type {FakeSocket} */ (this.sockets.at(-1));
  }

  get openSockets() {
    return this.sockets.filter((socket) => !socket.isClosed);
  }

  get openQuestions() {
    return this.questions.filter(({ isOver, signal }) => !isOver && !signal.aborted);
  }

  /** @param {number} milliseconds */
  pass(milliseconds) {
    return this.clock.pass(milliseconds);
  }

  /** How often it asks while so much time passes. @param {number} milliseconds */
  async asksWithin(milliseconds) {
    const before = this.questions.length;
    await this.pass(milliseconds);
    return this.questions.length - before;
  }

  // --- The ways into each state ------------------------------------------------------------------------------------

  connect() {
    this.link.start({ isStale: false });
  }

  goLive() {
    this.connect();
    this.socket.say();
  }

  /** Lose the socket, and be about to try another one. */
  lose() {
    this.goLive();
    this.socket.break();
  }

  /** Have all attempts fail. */
  async giveUp() {
    this.connect();
    await this.loseAll();
  }

  async loseAll() {
    if (this.state === "live") this.socket.break();
    while (this.state !== "polling") {
      if (this.state === "connecting") this.socket.break();
      await this.pass(100);
    }
  }

  async beGone() {
    this.goLive();
    const { answer } = this;
    this.answer = "missing";
    this.socket.break(MISSING);
    await settle();
    this.answer = answer;
  }

  /** @param {import("../../static/js/reconnecting.js").State} state */
  async enter(state) {
    if (state === "connecting") this.connect();
    if (state === "live") this.goLive();
    if (state === "retrying") this.lose();
    if (state === "polling") await this.giveUp();
    if (state === "gone") await this.beGone();
  }
}
