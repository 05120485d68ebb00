// @ts-check
/**
 * What keeps a page in step with its dataset. It works on what the server rendered, and holds no state of a dataset
 * but versions:
 *
 * - order: no fragment replaces a newer one of itself;
 * - motion: bars glide and animations go on although their elements are replaced;
 * - words: a change of state is announced once, and relative times stay true;
 * - copies: code goes to the clipboard;
 * - the link: the WebSocket first, polling where it cannot be had, nothing while the page is hidden.
 */
(() => {
  "use strict";

  /** @type {any} */
  const htmx = /** @type {any} */ (window).htmx;
  const INSTANTLY = { swapStyle: "outerHTML", swapDelay: 0, settleDelay: 0 };
  const LONGEST_WAIT = 30_000;
  const LONGEST_SILENCE = 30_000; // the server says something three times as often
  const RESTING_POLL = 4_000;
  const TICK = 2_000;
  const KEEPALIVE = "<!-- here -->";
  const NEW_DATASET = "<!-- new dataset -->";
  const TOO_MANY = 4429;
  const GONE = new Set([403, 404]);
  const CLOSED_FOR_GOOD = new Set([4404]);

  // The extension tells of every closed socket and would open the next by itself; when that is tried is decided here,
  // so its own attempt is put off for as long as a timer can run.
  htmx.config.wsReconnectDelay = () => 2 ** 31 - 1;

  /** @param {string} id @returns {HTMLElement | null} */
  const byId = (id) => document.getElementById(id);

  /** @param {string} html @param {string} id @returns {HTMLElement | null} the element of that id in a response */
  const find = (html, id) => new DOMParser().parseFromString(html, "text/html").getElementById(id);

  // --- Order ---------------------------------------------------------------------------------------------------------

  /** @param {HTMLElement | null} shown @param {HTMLElement | null} fresh */
  const isOlder = (shown, fresh) =>
    shown?.dataset.version !== undefined &&
    fresh?.dataset.version !== undefined &&
    shown.dataset.dataset === fresh.dataset.dataset &&
    Number(fresh.dataset.version) < Number(shown.dataset.version);

  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = /** @type {CustomEvent} */ (event).detail;
    if (isOlder(target, fragment.firstElementChild)) event.preventDefault();
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, serverResponse, shouldSwap } = /** @type {CustomEvent} */ (event).detail;
    if (shouldSwap && target.dataset?.version && isOlder(target, find(serverResponse, target.id))) event.preventDefault();
  });

  // --- Motion --------------------------------------------------------------------------------------------------------

  /**
   * After a swap htmx gives each new element the class of the one with its id that it replaces, and settles it to its
   * own class a moment later. Reading the animations in between makes the browser take the old width as where the
   * transition starts, also where the moment is none (a push settles at once). Animations all start at the time 0 of
   * the document, so a replaced shimmer goes on where its predecessor was.
   *
   * @param {Element} root
   */
  function steady(root) {
    for (const animation of root.getAnimations({ subtree: true })) {
      if (animation instanceof CSSAnimation) animation.startTime = 0;
    }
  }

  // --- Words ---------------------------------------------------------------------------------------------------------

  /** @type {Map<string, {state: string, version: number}>} what was last said of each dataset */
  const said = new Map();

  /** @param {ParentNode} root @param {boolean} aloud */
  function tell(root, aloud) {
    const bars = [...root.querySelectorAll("[data-state][data-dataset]")];
    if (root instanceof Element && root.matches("[data-state][data-dataset]")) bars.push(root);
    for (const bar of bars) {
      const { dataset = "", state = "", label = "", version = "0" } = /** @type {HTMLElement} */ (bar).dataset;
      const before = said.get(dataset);
      if (before && (before.state === state || Number(version) <= before.version)) continue;
      said.set(dataset, { state, version: Number(version) });
      const announcer = byId("announcer");
      if (aloud && before && announcer) announcer.textContent = `${dataset}: ${label}`;
    }
  }

  const relative = new Intl.RelativeTimeFormat("en", { numeric: "always" });
  /** @type {[Intl.RelativeTimeFormatUnit, number][]} */
  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  function refreshTimes() {
    for (const element of document.querySelectorAll("time[datetime]")) {
      const seconds = (Date.now() - Date.parse(/** @type {HTMLTimeElement} */ (element).dateTime)) / 1000;
      const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? UNITS[3];
      if (seconds >= 28 * 86400) continue;
      const words = relative.format(-Math.floor(seconds / size), unit);
      if (element.hasAttribute("data-elapsed")) element.textContent = words.replace(" ago", "");
      else element.textContent = seconds < 10 ? "just now" : words;
    }
  }

  // --- What a page shows of its datasets -----------------------------------------------------------------------------

  /**
   * What the link keeps in step.
   *
   * @typedef {object} View
   * @property {() => string} socket the address of its socket
   * @property {() => string} source the address at which its state is asked for
   * @property {(html: string) => void} apply show an answer from there, unless something newer is shown
   * @property {(message: string) => boolean} take look at a pushed message; whether htmx is to swap it
   * @property {() => void} settle see to what depends on what is shown
   * @property {() => boolean} isResting whether nothing is under way
   */

  /** @implements {View} the page of one dataset, whether its panel is on it or not */
  class DatasetView {
    /** @param {Link} link */
    constructor(link) {
      this.link = link;
      this.root = link.root;
      this.isRefreshing = false;
    }

    panel() {
      return byId("dataset-live");
    }

    socket() {
      return this.root.dataset.socket ?? "";
    }

    source() {
      const { bar = "", version = "", run = "", health } = { ...this.root.dataset, ...this.panel()?.dataset };
      const query = new URLSearchParams({ v: version, run });
      if (health !== undefined) query.set("health", health);
      return `${bar}?${query}`;
    }

    isResting() {
      const phase = (this.panel() ?? byId("dataset-body") ?? this.root).dataset.phase ?? "";
      return phase.endsWith("ready") || phase.endsWith("error");
    }

    /** @param {string} html */
    apply(html) {
      const panel = this.panel();
      const fresh = find(html, "dataset-live");
      if (!panel) this.wakeHeader(fresh);
      else if (!isOlder(panel, fresh)) htmx.swap(panel, html, INSTANTLY);
    }

    /** @param {string} message */
    take(message) {
      if (this.panel()) return true;
      // A page without the panel learns from the message only whether a new run has begun.
      this.wakeHeader(find(message, "dataset-live"));
      return false;
    }

    settle() {
      const panel = this.panel();
      const body = byId("dataset-body");
      this.wakeHeader(panel);
      if (panel && body && body.dataset.phase !== panel.dataset.phase) void this.refresh();
    }

    /** @param {HTMLElement | null} panel */
    wakeHeader(panel) {
      const header = byId("progress-header");
      if (!panel || !header || header.hasAttribute("hx-trigger")) return;
      if (Number(panel.dataset.run) <= Number(header.dataset.run)) return;
      htmx.ajax("GET", header.dataset.url, { target: header, swap: "outerHTML" });
    }

    /** Fetch this page and take from it what is not pushed. */
    async refresh() {
      if (this.isRefreshing) return;
      this.isRefreshing = true;
      try {
        const response = await fetch(location.href, { cache: "no-store", signal: this.link.requests.signal });
        if (!response.ok) return;
        const html = await response.text();
        const open = [...document.querySelectorAll("details[open]")].map((details) => details.id);
        const select = { select: "#dataset-body", selectOOB: "#dataset-controls" };
        htmx.swap("#dataset-body", html, { ...INSTANTLY, ignoreTitle: true }, select);
        for (const id of open) byId(id)?.setAttribute("open", "");
      } catch {
        // The next message, of which there is one every few seconds, finds the phase still another.
      } finally {
        this.isRefreshing = false;
      }
    }
  }

  /** @implements {View} the rows of the list */
  class ListView {
    /** @param {Link} link */
    constructor(link) {
      this.link = link;
      this.refreshedAt = 0;
      this.refreshTimer = 0;
    }

    rows() {
      return /** @type {HTMLElement} */ (byId("rows"));
    }

    socket() {
      return `${this.shown()}&newest=${this.rows().dataset.newest ?? ""}`;
    }

    /** The address of the socket without what need not be told again while it is open. */
    shown() {
      return this.rows().dataset.socket ?? "";
    }

    source() {
      return this.rows().dataset.fetch ?? "";
    }

    isResting() {
      return false;
    }

    /** @param {string} html */
    apply(html) {
      const rows = find(html, "rows");
      if (!rows) return;
      const before = this.shown();
      // What was pushed while the answer was on its way is newer than it.
      for (const fresh of rows.querySelectorAll("[data-version][id^='row-']")) {
        const shown = byId(fresh.id);
        if (shown && isOlder(shown, /** @type {HTMLElement} */ (fresh))) fresh.replaceWith(shown.cloneNode(true));
      }
      htmx.swap("#rows", rows.outerHTML, INSTANTLY);
      if (this.shown() !== before) this.link.reconnect();
    }

    /** @param {string} message */
    take(message) {
      if (message !== NEW_DATASET) return true;
      this.refresh();
      return false;
    }

    settle() {
      for (const row of document.querySelectorAll("#rows li[data-phase]")) {
        const { phase } = /** @type {HTMLElement} */ (row).dataset;
        const live = /** @type {HTMLElement | null} */ (row.querySelector("[id^='row-']"));
        if (live && live.dataset.phase !== phase) this.refresh();
      }
    }

    /** Ask for the rows again, at most every other second. */
    refresh() {
      if (this.refreshTimer) return;
      const wait = Math.max(0, this.refreshedAt + 2000 - Date.now());
      this.refreshTimer = window.setTimeout(() => {
        this.refreshTimer = 0;
        this.refreshedAt = Date.now();
        void this.link.ask();
      }, wait);
    }
  }

  // --- The link ------------------------------------------------------------------------------------------------------

  /** Keeps a view in step, from the element #live. Exactly one mechanism is at work at a time, or none. */
  class Link {
    /** @param {HTMLElement} root */
    constructor(root) {
      this.root = root;
      this.slot = /** @type {HTMLElement} */ (byId("live-socket"));
      this.attempts = Number(root.dataset.wsAttempts);
      this.interval = Number(root.dataset.pollMs);
      this.failures = 0;
      this.errors = 0;
      this.isHeard = false; // whether the socket has said anything since it was opened
      this.isPolling = false;
      this.isRunning = false;
      this.isOver = false;
      this.heardAt = Date.now();
      this.connectTimer = 0;
      this.pollTimer = 0;
      this.requests = new AbortController();
      /** @type {View} */
      this.view = root.dataset.bar ? new DatasetView(this) : new ListView(this);

      root.addEventListener("htmx:wsClose", (event) => this.closed(/** @type {CustomEvent} */ (event).detail.event.code));
      root.addEventListener("htmx:wsBeforeMessage", (event) => {
        const { message } = /** @type {CustomEvent} */ (event).detail;
        this.told();
        if (message === KEEPALIVE) this.view.settle();
        if (message === KEEPALIVE || !this.view.take(message)) event.preventDefault();
      });
    }

    /** @param {boolean} ask whether what is shown may be old: then it is asked for at once as well */
    start(ask) {
      if (this.isRunning || this.isOver) return;
      this.isRunning = true;
      this.requests = new AbortController();
      this.connect();
      if (this.failures >= this.attempts) this.startPolling();
      else if (ask) void this.ask();
    }

    stop() {
      this.isRunning = false;
      this.stopPolling();
      clearTimeout(this.connectTimer);
      this.requests.abort();
      this.disconnect();
    }

    connect() {
      clearTimeout(this.connectTimer);
      this.disconnect();
      const socket = document.createElement("div");
      socket.setAttribute("hx-ext", "ws");
      socket.setAttribute("ws-connect", this.view.socket());
      this.slot.append(socket);
      htmx.process(socket);
    }

    disconnect() {
      this.isHeard = false;
      htmx.swap(this.slot, "", { ...INSTANTLY, swapStyle: "innerHTML" }); // which closes the socket in it
    }

    /** The socket has another address now. */
    reconnect() {
      if (!this.isRunning || this.isPolling) return;
      this.connect();
    }

    /** The socket has said something: only now is it known to work. */
    told() {
      this.isHeard = true;
      this.failures = 0;
      this.stopPolling();
      this.heard();
    }

    /** @param {number} code */
    closed(code) {
      this.isHeard = false;
      if (!this.isRunning) return;
      if (CLOSED_FOR_GOOD.has(code)) {
        this.end();
        return;
      }
      this.failures = code === TOO_MANY ? this.attempts : this.failures + 1;
      const isTrying = this.failures < this.attempts;
      // Full jitter: a restarted server is not to meet all its pages in the same moment.
      const wait = isTrying ? Math.random() * 200 * 2 ** this.failures : LONGEST_WAIT;
      this.connectTimer = window.setTimeout(() => this.connect(), wait);
      if (!isTrying) this.startPolling();
      else this.show("Reconnecting", "○");
    }

    startPolling() {
      if (this.isPolling) return;
      this.isPolling = true;
      this.errors = 0;
      void this.poll();
    }

    stopPolling() {
      this.isPolling = false;
      clearTimeout(this.pollTimer);
    }

    async poll() {
      const hasAnswer = await this.ask();
      if (!this.isPolling) return;
      this.errors = hasAnswer ? 0 : this.errors + 1;
      const usual = this.view.isResting() ? Math.max(this.interval, RESTING_POLL) : this.interval;
      this.pollTimer = window.setTimeout(() => void this.poll(), Math.min(usual * 2 ** this.errors, LONGEST_WAIT));
    }

    /** Ask for the state once. @returns {Promise<boolean>} whether the server answered */
    async ask() {
      const { signal } = this.requests;
      try {
        const response = await fetch(this.view.source(), {
          headers: { "HX-Request": "true" },
          cache: "no-store",
          signal: AbortSignal.any([signal, AbortSignal.timeout(LONGEST_WAIT)]),
        });
        if (GONE.has(response.status)) this.end();
        else if (!response.ok) throw new Error(`${response.status}`);
        else if (response.status === 200) {
          const html = await response.text();
          if (signal.aborted) return false;
          this.view.apply(html);
        }
        this.view.settle();
        this.heard();
        return true;
      } catch {
        if (!signal.aborted && !this.isHeard) this.show(`Offline since ${new Date(this.heardAt).toLocaleTimeString()}`, "×");
        return false;
      }
    }

    heard() {
      this.heardAt = Date.now();
      if (!this.isRunning) return;
      if (this.isHeard) this.show("Live", "●");
      else if (this.isPolling) this.show(`Asking every ${this.interval / 1000} s`, "○");
    }

    /** Of a line that is broken somewhere on its way, nobody tells the browser. */
    check() {
      if (this.isRunning && this.isHeard && Date.now() - this.heardAt > LONGEST_SILENCE) {
        this.closed(0);
        this.connect();
      }
    }

    /** The dataset is gone, or may not be seen any more. */
    end() {
      this.isOver = true;
      this.stop();
      this.show("This dataset is not here any more", "×");
    }

    /** @param {string} text @param {string} sign */
    show(text, sign) {
      const place = byId("connection");
      const words = `${sign} ${text}`;
      if (!place || place.textContent === words) return;
      place.textContent = words;
      place.hidden = false;
    }
  }

  /** @type {Link | undefined} */
  let link;

  /** Follow what is on the page now: htmx may have brought another one. */
  function follow() {
    const root = byId("live");
    if (link?.root === root) return;
    link?.stop();
    link = root ? new Link(root) : undefined;
    if (!document.hidden) link?.start(false);
  }

  /** @param {Event} event */
  function swapped(event) {
    const root = event.target;
    if (!(root instanceof Element)) return;
    steady(root);
    tell(root, true);
    follow();
    link?.view.settle();
  }
  document.addEventListener("htmx:oobAfterSwap", swapped);
  document.addEventListener("htmx:afterSwap", swapped);

  // --- The header's own polling --------------------------------------------------------------------------------------

  let headerErrors = 0;
  let headerNotBefore = 0;

  /** @param {Element} element */
  const isPoller = (element) => element.matches('[hx-trigger^="every"]');

  document.addEventListener("htmx:beforeRequest", (event) => {
    const { elt } = /** @type {CustomEvent} */ (event).detail;
    if (isPoller(elt) && (document.hidden || Date.now() < headerNotBefore)) event.preventDefault();
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    const { elt, successful, xhr } = /** @type {CustomEvent} */ (event).detail;
    if (!isPoller(elt)) return;
    headerErrors = successful ? 0 : headerErrors + 1;
    headerNotBefore = successful ? 0 : Date.now() + Math.min(3000 * 2 ** (headerErrors - 1), LONGEST_WAIT) - 500;
    if (!GONE.has(xhr.status)) return;
    elt.remove(); // which ends its polling
    link?.end();
  });

  // --- Here and away -------------------------------------------------------------------------------------------------

  function leave() {
    link?.stop();
  }

  function comeBack() {
    if (document.hidden) return;
    refreshTimes();
    headerNotBefore = 0;
    link?.start(true);
    for (const element of document.querySelectorAll('[hx-trigger^="every"]')) {
      htmx.ajax("GET", element.getAttribute("hx-get"), { source: element, target: element, swap: "outerHTML" });
    }
  }

  function startAnew() {
    leave();
    comeBack();
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : comeBack()));
  window.addEventListener("pagehide", leave);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) comeBack();
  });
  window.addEventListener("online", startAnew);

  let tickedAt = Date.now();
  setInterval(() => {
    const hasSlept = Date.now() - tickedAt > 4 * TICK;
    tickedAt = Date.now();
    if (document.hidden) return;
    if (hasSlept) startAnew();
    else link?.check();
  }, TICK);
  setInterval(() => document.hidden || refreshTimes(), 15_000);

  // --- Code to copy --------------------------------------------------------------------------------------------------

  function offerCopies() {
    if (!navigator.clipboard) return; // only where the connection is secure
    for (const button of document.querySelectorAll("[data-copy]")) /** @type {HTMLElement} */ (button).hidden = false;
  }

  document.addEventListener("click", async (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
    if (!(button instanceof HTMLElement)) return;
    try {
      await navigator.clipboard.writeText(byId(button.dataset.copy ?? "")?.textContent ?? "");
      button.textContent = "Copied";
    } catch {
      button.textContent = "Mark it and copy it by hand";
    }
  });
  document.addEventListener("htmx:afterSwap", offerCopies);

  offerCopies();
  tell(document, false);
  steady(document.documentElement);
  follow();
})();
