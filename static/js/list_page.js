/** The list of datasets, and the page of a batch: what moves in its rows is pushed or polled; rows that come and go are fetched. */

import { AT_ONCE, byId, findIn, forgetMessages, htmx } from "./dom.js";
import { isOlder } from "./order.js";

/** @typedef {import("./connection.js").View} View */

const OLDEST_ROWS = 60_000; // fetched again then, since not every change of a row is pushed
const LEAST_APART = 2_000;

/** @implements {View} */
export class ListPage {
  #clock;
  #link;
  #rest;
  #fetchedAt;
  #isBehind = false; // whether rows have come or gone since they were fetched
  #isRowGone = false;
  #addressed = ""; // what the socket watches

  /** @param {HTMLElement} _root @param {import("./connection.js").Tools} tools */
  constructor(_root, { clock, link, space }) {
    this.#clock = clock;
    this.#link = link;
    this.#fetchedAt = clock.now();
    this.#rest = space({
      fetch: () => this.#fetchRows(),
      onAskedAgain: () => this.#rest.request(),
      apart: LEAST_APART,
    });
  }

  get #rows() {
    return /** @type {HTMLElement} */ (byId("rows"));
  }

  get socketAddress() {
    this.#addressed = this.#watched;
    return `${this.#watched}&newest=${this.#rows.dataset.newest ?? ""}`;
  }

  /** The address of the socket without what changes while it is open. */
  get #watched() {
    return this.#rows.dataset.socket ?? "";
  }

  get stateAddress() {
    return this.#rows.dataset.fetch ?? "";
  }

  get isResting() {
    return false;
  }

  /** @param {string} html */
  show(html) {
    const rows = findIn(html, "rows");
    if (!rows) return false;
    showBatch(html);
    this.#fetchedAt = this.#clock.now();
    const before = this.#watched;
    this.#addressed = rows.dataset.socket ?? "";
    const isSame = frameOf(rows) === frameOf(this.#rows);
    for (const fresh of movingIn(rows)) {
      const shown = byId(fresh.id);
      // What was pushed while the answer was on its way is newer.
      if (shown && isOlder(shown, fresh)) fresh.replaceWith(shown.cloneNode(true));
      else if (isSame) htmx.swap(shown, fresh.outerHTML, AT_ONCE);
    }
    if (isSame) Object.assign(this.#rows.dataset, rows.dataset);
    else {
      forgetMessages();
      htmx.swap("#rows", rows.outerHTML, AT_ONCE);
    }
    // Where a dataset is gone there may be another one of its id, which the socket does not watch.
    if (this.#watched !== before || this.#isRowGone) this.#link.readdress();
    this.#isRowGone = false;
    return true;
  }

  /** @param {import("./frames.js").Frame} frame */
  accept({ notice, watchers }) {
    if (watchers !== null) this.#rest.watchers = watchers;
    this.#isRowGone ||= notice === "gone";
    if (!notice) return true;
    this.#isBehind = true;
    this.#rest.request();
    return false;
  }

  catchUp() {
    // A search has put other rows in their place.
    if (this.#addressed && this.#addressed !== this.#watched) {
      this.#addressed = this.#watched;
      this.#link.readdress();
    }
    keepAddress(this.stateAddress);
    for (const row of document.querySelectorAll("#rows li[data-phase]")) {
      const { phase } = /** @type {HTMLElement} */ (row).dataset;
      const moving = /** @type {HTMLElement | null} */ (row.querySelector("[id^='row-']"));
      if (moving && moving.dataset.phase !== phase) this.#rest.request();
    }
    if (this.#isBehind || this.#clock.now() - this.#fetchedAt > OLDEST_ROWS) this.#rest.request();
  }

  rest() {
    this.#rest.cancel();
  }

  /** @returns {Promise<boolean>} whether the rows were to be had */
  async #fetchRows() {
    this.#isBehind = false; // what is pushed from now on may not be in the answer
    const isDone = (await this.#link.fetchState()) === "answered";
    this.#isBehind ||= !isDone;
    return isDone;
  }
}

/** Let the page's address say which rows it shows, for a reload and for who comes back. @param {string} query */
function keepAddress(query) {
  const { pathname, search, hash } = new URL(query, location.href);
  if (search !== location.search) history.replaceState(history.state, "", pathname + search + hash);
}

/** On the page of a batch, show what the answer says of it. @param {string} html */
function showBatch(html) {
  const [shown, fresh] = [byId("batch-live"), findIn(html, "batch-live")];
  if (shown && fresh && !isOlder(shown, fresh)) htmx.swap(shown, fresh.outerHTML, AT_ONCE);
}

/** What moves in the rows. @param {ParentNode} rows @returns {HTMLElement[]} */
function movingIn(rows) {
  return [...rows.querySelectorAll("[id^='row-']")].map((row) => /** @type {HTMLElement} */ (row));
}

/** All the rest. While it stays the same it is not replaced, so links keep the focus and clicks. @param {HTMLElement} rows */
function frameOf(rows) {
  const frame = /** @type {HTMLElement} */ (rows.cloneNode(true));
  for (const row of movingIn(frame)) row.remove();
  return frame.innerHTML;
}
