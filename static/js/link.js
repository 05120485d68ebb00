/**
 * Keeps something that a server shows in step with it: by a WebSocket, and by polling where none speaks.
 *
 * It knows no page. Sockets, requests and the clock are passed in; what it learns goes out by callbacks. This
 * module carries out the effects that `reconnecting.js` names. docs/live.md draws the states.
 */

import { Poller } from "./poller.js";
import { doubled, roughly, Timer } from "./timer.js";
import { findTransition } from "./reconnecting.js";

/**
 * What a link uses of a `WebSocket`.
 *
 * @typedef {object} Socket
 * @property {((event: any) => void) | null} onmessage its event has `data`
 * @property {((event: any) => void) | null} onclose its event has the `code`
 * @property {() => void} close
 */

/** How the state is kept in step, for people to see. @typedef {"live" | "connecting" | "reconnecting" | "polling" | "offline" | "gone"} Status */

/**
 * @typedef {object} Options
 * @property {number} attempts how often in a row a socket is tried before the link polls; 0: none is ever opened
 * @property {number} interval milliseconds between two requests of a link that polls
 * @property {number} silence milliseconds without a message after which a socket counts as disconnected
 * @property {number} perSocket milliseconds that the server takes for one page that comes back
 * @property {number} perPoll milliseconds between two polls of a page that comes back, for each socket of the process
 * @property {{missing: number, full: number}} closeCodes with which the server says that what is watched does not exist,
 *   or that it takes no more sockets
 * @property {() => Socket} openSocket
 * @property {(signal: AbortSignal) => Promise<import("./poller.js").Answer>} fetchState fetch the state once, and show it
 * @property {() => boolean} isResting whether nothing is under way, so that polling may be slower
 * @property {(message: string) => void} onMessage
 * @property {(status: Status) => void} onStatus
 * @property {() => void} onReachable the server answers: what waits because of earlier failures need not wait
 * @property {import("./timer.js").Clock} clock
 * @property {import("./timer.js").Random} random
 */

const LONGEST_OPENING = 6_000; // the server says something as soon as a socket is open
const FIRST_RETRY = 500;
const FIRST_CHECK = 2_000;
const LONGEST_WAIT = 30_000;

export class Link {
  #options;
  #poller;
  #openTimer;
  #silenceTimer;
  #retryTimer;
  #checkTimer;
  /** @type {import("./reconnecting.js").State} */
  #state = "idle";
  #wasGone = false; // when it was stopped
  /** @type {Socket | undefined} open or being opened */
  #socket;
  #heardAt = 0; // when the socket has last said something
  #failures = 0; // of sockets, in a row
  #checks = 0; // in vain, in a row
  #isChecking = false;
  #requests = new AbortController(); // aborted when the link stops
  /** How many sockets the server process had when it was last heard of. A restart brings all of them back at once. */
  sockets = 0;

  /** @param {Options} options */
  constructor(options) {
    const { clock } = options;
    this.#options = options;
    this.#poller = new Poller({
      ...options,
      // A page that has given up its socket polls as usual: the others have theirs.
      crowdInterval: () => (this.#state === "polling" ? 0 : this.sockets * options.perPoll),
      fetchState: () => this.fetchState(),
      onAnswer: (answer, isBack) => this.#onPolled(answer, isBack),
    });
    this.#openTimer = new Timer(clock, () => this.#onLost("closed"));
    this.#silenceTimer = new Timer(clock, () => this.#checkSilence());
    this.#retryTimer = new Timer(clock, () => this.#dispatch("due"));
    this.#checkTimer = new Timer(clock, () => this.#dispatch("check due"));
  }

  get state() {
    return this.#state;
  }

  /** @param {{isStale: boolean}} options whether what is shown may be old: then it is fetched at once */
  start({ isStale }) {
    if (this.#state !== "idle") return;
    this.#requests = new AbortController();
    this.#dispatch("start");
    if (isStale && this.state === "connecting") void this.fetchState();
  }

  /** Rest: no socket, no timer, and answers that are under way are ignored. */
  stop() {
    this.#wasGone = this.#state === "gone" || (this.#state === "idle" && this.#wasGone);
    this.#dispatch("stop");
    this.#isChecking = false;
    this.#requests.abort();
  }

  /** The socket has another address now. */
  readdress() {
    this.#dispatch("readdress");
  }

  /** Another request was answered that what is watched is missing. Check whether that is so. */
  reportMissing() {
    this.#dispatch("reported missing");
  }

  /** The browser says that it has no network. The server may be on this machine all the same, so fetch the state. */
  async verifyConnection() {
    const { signal } = this.#requests;
    if (this.#state !== "live" || (await this.fetchState()) !== "failed") return;
    if (this.#state === "live" && !signal.aborted) this.#onLost("closed");
  }

  /** Fetch the state once. @returns {Promise<import("./poller.js").Answer>} */
  async fetchState() {
    const { signal } = this.#requests;
    /** @type {import("./poller.js").Answer} */
    let answer = "failed";
    try {
      answer = await this.#options.fetchState(signal);
    } catch {
      // No answer is a failed one.
    }
    if (signal.aborted) return "failed";
    if (answer === "answered") this.#showStatus();
    else if (answer === "failed" && this.#state !== "live") this.#options.onStatus("offline");
    return answer;
  }

  // --- What happens ----------------------------------------------------------------------------------------------------

  /** @param {import("./reconnecting.js").Event} event */
  #dispatch(event) {
    const transition = findTransition(this.#state, event, (condition) => this.#conditions[condition]());
    if (!transition) return;
    this.#state = transition.to;
    for (const effect of transition.effects) this.#effects[effect]();
  }

  /** @param {string} message */
  #onMessage(message) {
    this.#heardAt = this.#options.clock.now();
    this.#dispatch("message");
    this.#options.onMessage(message);
  }

  /** @param {number} code */
  #onClose(code) {
    const { closeCodes } = this.#options;
    this.#onLost(code === closeCodes.missing ? "denied" : "closed", code === closeCodes.full);
  }

  /** @param {"closed" | "denied" | "silent"} event @param {boolean} isFull whether trying again is in vain */
  #onLost(event, isFull = false) {
    this.#failures = isFull ? this.#options.attempts : this.#failures + 1;
    this.#dispatch(event);
  }

  /** A half-open connection fires no close event, so treat silence as a disconnect. */
  #checkSilence() {
    const { clock, silence } = this.#options;
    const left = this.#heardAt + silence - clock.now();
    if (left > 0) this.#silenceTimer.start(left);
    else this.#onLost("silent");
  }

  /** @param {import("./poller.js").Answer} answer @param {boolean} isBack */
  #onPolled(answer, isBack) {
    if (answer === "missing") this.#dispatch("missing");
    if (!isBack) return;
    this.#options.onReachable();
    this.#dispatch("back");
  }

  /** Fetch the state to see whether what is watched is missing. A socket that speaks meanwhile goes on. */
  async #checkMissing() {
    if (this.#isChecking) return;
    const { signal } = this.#requests;
    this.#checkTimer.stop();
    this.#isChecking = true;
    const answer = await this.fetchState();
    if (signal.aborted) return;
    this.#isChecking = false;
    if (answer === "answered") {
      this.#checks = 0;
      this.#options.onReachable();
    }
    this.#dispatch(answer === "missing" ? "absent" : "present");
  }

  #showStatus() {
    const { attempts, onStatus } = this.#options;
    if (this.#state === "live") onStatus("live");
    else if (this.#failures >= attempts) onStatus("polling");
    else if (this.#failures) onStatus("reconnecting");
    else if (this.#poller.isOn) onStatus("connecting");
  }

  /** Any wait up to `milliseconds`, or up to what the server takes for all pages that may come back with this one. */
  #spread(/** @type {number} */ milliseconds) {
    const { perSocket, random } = this.#options;
    return random() * Math.max(milliseconds, this.sockets * perSocket);
  }

  /** How long to wait after a failure for the next attempt. Not all of a crowd were refused with this page. */
  #backOff() {
    const { perSocket, random } = this.#options;
    const longest = FIRST_RETRY * 2 ** this.#failures;
    if (this.#failures <= 1) return this.#spread(longest);
    // At least half of it: a server that starts meanwhile must not find all attempts used up.
    const again = ((1 + random()) / 2) * ((this.sockets * perSocket) / 4);
    return Math.max(again, random() * longest);
  }

  // --- The words of the table ------------------------------------------------------------------------------------------

  /** @type {Record<import("./reconnecting.js").Condition, () => boolean>} */
  #conditions = {
    "was gone": () => this.#wasGone,
    "attempts left": () => this.#failures < this.#options.attempts,
    "is polling": () => this.#poller.isOn,
    opening: () => this.#socket !== undefined,
  };

  /** @type {Record<import("./reconnecting.js").Effect, () => void>} */
  #effects = {
    openSocket: () => {
      this.#effects.closeSocket();
      this.#retryTimer.stop();
      if (!this.#options.attempts) return;
      this.#openTimer.start(LONGEST_OPENING);
      const socket = (this.#socket = this.#options.openSocket());
      socket.onmessage = ({ data }) => this.#onMessage(data);
      socket.onclose = ({ code }) => this.#onClose(code);
    },
    closeSocket: () => {
      const socket = this.#socket;
      this.#openTimer.stop();
      this.#silenceTimer.stop();
      this.#socket = undefined;
      if (!socket) return;
      socket.onmessage = socket.onclose = null;
      socket.close();
    },
    noteLive: () => {
      this.#failures = 0;
      this.#openTimer.stop();
      this.#retryTimer.stop();
      this.#silenceTimer.start(this.#options.silence);
      this.#options.onReachable();
    },
    noteGone: () => {
      this.#failures ||= 1; // should it come back, there is no socket
      this.#options.onStatus("gone");
    },
    retryLater: () => {
      const { attempts, random } = this.#options;
      const isTrying = this.#failures < attempts;
      const wait = isTrying ? this.#backOff() : roughly(LONGEST_WAIT, random);
      this.#retryTimer.start(wait);
    },
    retrySoon: () => this.#retryTimer.start(this.#spread(LONGEST_OPENING)),
    pollNow: () => this.#poller.start(),
    pollSoon: () => this.#poller.startSoon(this.#spread(0)),
    stopPolling: () => this.#poller.stop(),
    checkMissing: () => void this.#checkMissing(),
    checkMissingLater: () => {
      this.#checkTimer.start(roughly(doubled(FIRST_CHECK, this.#checks, LONGEST_WAIT), this.#options.random));
      this.#checks += 1;
    },
    rest: () => {
      this.#poller.stop();
      this.#retryTimer.stop();
      this.#checkTimer.stop();
      this.#effects.closeSocket();
    },
    showStatus: () => {
      if (!this.#poller.errors) this.#showStatus(); // else "offline" stays, until something is heard
    },
  };
}
