/**
 * The pages of one dataset: its panel is pushed or polled, with it the count of its failures, and the rest is fetched
 * when its phase is over.
 */

import { AT_ONCE, byId, findIn, forgetMessages, htmx } from "./dom.js";
import { isOlder } from "./order.js";

/** @typedef {import("./connection.js").View} View */

/** @implements {View} a page of a dataset, with the panel or without */
export class DatasetPage {
  #root;
  #rest;

  /** @param {HTMLElement} root @param {import("./connection.js").Tools} tools */
  constructor(root, { space }) {
    this.#root = root;
    this.#rest = space({ fetch: () => this.#fetchRest(), onAskedAgain: () => this.catchUp(), apart: 0 });
  }

  get #panel() {
    return byId("dataset-live");
  }

  get socketAddress() {
    return this.#root.dataset.socket ?? "";
  }

  get stateAddress() {
    const { bar = "", epoch = "", version = "", run = "", health } = { ...this.#root.dataset, ...this.#panel?.dataset };
    const query = new URLSearchParams({ v: version, epoch, run });
    if (health !== undefined) query.set("health", health);
    return `${bar}?${query}`;
  }

  get isResting() {
    const phase = (this.#panel ?? byId("dataset-body"))?.dataset.phase ?? this.#root.dataset.phase ?? "";
    return phase.endsWith("ready") || phase.endsWith("error");
  }

  /** @param {string} html */
  show(html) {
    const panel = this.#panel;
    const fresh = findIn(html, "dataset-live");
    if (!fresh) return false;
    if (!panel) this.#note(fresh);
    else if (!isOlder(panel, fresh)) htmx.swap(panel, html, AT_ONCE);
    return true;
  }

  /** @param {import("./frames.js").Frame} frame */
  accept({ html, watchers }) {
    if (watchers !== null) this.#rest.watchers = watchers;
    if (this.#panel) return true;
    this.#note(findIn(html, "dataset-live"));
    return false;
  }

  catchUp() {
    const panel = this.#panel;
    const body = byId("dataset-body");
    this.#wakeHeader(panel);
    const summary = byId("workers-summary");
    if (summary) summary.textContent = panel?.dataset.workers ?? "Workers";
    const tab = byId("tab-failures");
    if (tab && panel) {
      countOn(tab, panel.dataset.failed ?? "");
      offerMore(panel.dataset.failed ?? "");
    }
    if (panel && body && body.dataset.phase !== panel.dataset.phase) this.#rest.request();
  }

  rest() {
    this.#rest.cancel();
    const body = byId("dataset-body");
    if (body) htmx.trigger(body, "htmx:abort");
  }

  /** Note on a page without the panel what it would show. @param {HTMLElement | null} fresh */
  #note(fresh) {
    if (!fresh || isOlder(this.#root, fresh)) return;
    const { epoch, version, run, phase, health } = fresh.dataset;
    Object.assign(this.#root.dataset, { epoch, version, run, phase, health });
    this.#wakeHeader(fresh);
  }

  /** Ask for a header that does not poll and is behind the panel: a new run has started. @param {HTMLElement | null} panel */
  #wakeHeader(panel) {
    const header = byId("progress-header");
    if (!panel || !header || header.hasAttribute("hx-trigger")) return;
    const isSameEpoch = panel.dataset.epoch === header.dataset.epoch;
    if (isSameEpoch && Number(panel.dataset.version) <= Number(header.dataset.version)) return;
    htmx.ajax("GET", header.dataset.url, { source: header, target: header, swap: "outerHTML" });
  }

  /**
   * Fetch this page, and take from it what #dataset-body names in its `hx-select` and `hx-select-oob`.
   *
   * @returns {Promise<boolean>} whether it was to be had, and no other page in its place
   */
  async #fetchRest() {
    const body = byId("dataset-body");
    if (!body) return false;
    forgetMessages();
    /** @type {string[]} */
    let open = [];
    const noteOpen = () => (open = [...document.querySelectorAll("details[open]")].map(({ id }) => id));
    body.addEventListener("htmx:beforeSwap", noteOpen);
    try {
      await htmx.ajax("GET", location.pathname + location.search, { source: body });
    } catch {
      return false; // the next message finds the phase still another
    } finally {
      body.removeEventListener("htmx:beforeSwap", noteOpen);
    }
    for (const id of open) byId(id)?.setAttribute("open", "");
    // On the page of a run that is over, the panel would go on to the next run.
    if (!byId("dataset-body")?.dataset.phase) byId("dataset-live")?.remove();
    return !body.isConnected;
  }
}

/** @param {HTMLElement} tab @param {string} figure how many things it has; empty: none, so the tab is hidden */
function countOn(tab, figure) {
  const shown = /** @type {HTMLElement} */ (tab.lastElementChild);
  if (shown.textContent !== figure) shown.textContent = figure;
  tab.hidden = figure === "" && !tab.hasAttribute("aria-current");
}

/** Offer the failed items that came after the list of them was fetched. @param {string} figure how many there are now */
function offerMore(figure) {
  const link = byId("failures-more");
  if (!link) return;
  const more = Number(figure.replaceAll(",", "")) - Number(link.dataset.shown);
  link.hidden = more <= 0;
  link.textContent = `${more.toLocaleString("en")} more`;
}
