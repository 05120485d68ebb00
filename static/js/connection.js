/** Connects what a page shows with its server: makes its link of the page's addresses, and shows how it is kept in step. */

import { DatasetPage } from "./dataset_page.js";
import { AT_ONCE, byId, htmx } from "./dom.js";
import { readFrame } from "./frames.js";
import { Link } from "./link.js";
import { ListPage } from "./list_page.js";
import { acceptAnswer, shownNow } from "./order.js";
import { SpacedFetch } from "./spaced_fetch.js";
import { browserClock } from "./timer.js";

/**
 * What is kept in step.
 *
 * @typedef {object} View
 * @property {string} socketAddress
 * @property {string} stateAddress where its state is fetched
 * @property {boolean} isResting whether nothing is under way
 * @property {(html: string) => boolean} show show an answer from there, unless something newer is shown. Returns whether
 *   it is one, and not a page that a proxy has put in its place
 * @property {(frame: import("./frames.js").Frame) => boolean} accept read a frame. Returns whether to swap it in
 * @property {() => void} catchUp fetch what depends on what is shown now
 * @property {() => void} rest fetch nothing more
 */

/**
 * What a view may use.
 *
 * @typedef {object} Tools
 * @property {import("./timer.js").Clock} clock
 * @property {{fetchState: () => Promise<import("./poller.js").Answer>, readdress: () => void}} link
 * @property {(options: {fetch: () => Promise<boolean>, onAskedAgain: () => void, apart: number}) => SpacedFetch} space
 */

const MISSING = [403, 404];
const LONGEST_REQUEST = 30_000;
const PUSHED = { ...AT_ONCE, swapStyle: "none" }; // its fragments find their places themselves

export class Connection {
  #heardAt = Date.now();
  #shownAtOpening = shownNow(); // when the socket was opened

  /**
   * @param {HTMLElement} root the element #live: it has the addresses, and the numbers that the server knows
   * @param {() => void} onReachable
   */
  constructor(root, onReachable) {
    const data = root.dataset;
    const common = { clock: browserClock, random: Math.random };
    this.root = root;
    this.link = new Link({
      ...common,
      attempts: Number(data.wsAttempts),
      interval: Number(data.pollMs),
      silence: Number(data.silenceMs),
      perSocket: Number(data.socketMs),
      perPoll: Number(data.pollCostMs),
      closeCodes: { missing: Number(data.closeMissing), full: Number(data.closeFull) },
      openSocket: () => this.#openSocket(),
      fetchState: (signal) => this.#fetchState(signal),
      isResting: () => this.view.isResting,
      onMessage: (message) => this.#onMessage(message),
      onStatus: (status) => this.#showStatus(status),
      onReachable,
    });
    this.link.sockets = Number(data.sockets);
    /** @type {Tools} */
    const tools = {
      clock: browserClock,
      link: this.link,
      space: (options) => new SpacedFetch({ ...common, ...options, perWatcher: Number(data.watcherMs) }),
    };
    /** @type {View} */
    this.view = data.bar ? new DatasetPage(root, tools) : new ListPage(root, tools);
  }

  /** @param {{isStale: boolean}} options */
  start(options) {
    this.link.start(options);
  }

  stop() {
    this.link.stop();
    this.view.rest();
  }

  #openSocket() {
    this.#shownAtOpening = shownNow();
    return new WebSocket(new URL(this.view.socketAddress, location.href.replace(/^http/, "ws")));
  }

  /** @param {AbortSignal} signal @returns {Promise<import("./poller.js").Answer>} */
  async #fetchState(signal) {
    const shown = shownNow();
    const response = await fetch(this.view.stateAddress, {
      headers: { "HX-Request": "true" },
      cache: "no-store",
      signal: "any" in AbortSignal ? AbortSignal.any([signal, AbortSignal.timeout(LONGEST_REQUEST)]) : signal,
    });
    if (MISSING.includes(response.status)) return "missing";
    if (!response.ok) return "failed";
    if (response.status === 200) {
      const html = await response.text();
      if (signal.aborted) return "failed";
      acceptAnswer(html, shown);
      if (!this.view.show(html)) return "failed";
    }
    this.view.catchUp();
    this.#heardAt = Date.now();
    return "answered";
  }

  /** @param {string} message */
  #onMessage(message) {
    this.#heardAt = Date.now();
    const frame = readFrame(message);
    if (frame.sockets !== null) this.link.sockets = frame.sockets;
    if (frame.notice === "keepalive") {
      this.view.catchUp();
      return;
    }
    acceptAnswer(frame.html, this.#shownAtOpening);
    if (this.view.accept(frame)) htmx.swap(this.root, frame.html, PUSHED);
  }

  /** @param {import("./link.js").Status} status */
  #showStatus(status) {
    document.documentElement.dataset.link = status;
    const place = byId("connection");
    const heard = new Date(this.#heardAt).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    const text = {
      live: "", // what moves says so
      connecting: "",
      reconnecting: "○ Reconnecting",
      polling: `○ Asking every ${Number(this.root.dataset.pollMs) / 1000} s`,
      offline: `× Offline since ${heard}`,
      gone: `× This ${byId("batch-live") ? "batch" : "dataset"} is no longer available`,
    }[status];
    if (!place || place.textContent === text) return;
    place.textContent = text;
    place.hidden = !text;
  }
}
