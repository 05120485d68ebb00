// @ts-check
/**
 * What keeps a page in step with its dataset. It works on what the server rendered, and holds no state of a dataset
 * but versions:
 *
 * - order: no fragment replaces a newer one of itself;
 * - motion: bars glide and animations go on although their elements are replaced;
 * - words: a change of state is announced once, and relative times stay true;
 * - the link: the WebSocket first, polling where it cannot be had, nothing while the page is hidden.
 */
(() => {
  "use strict";

  /** @type {any} */
  const htmx = /** @type {any} */ (window).htmx;
  const INSTANTLY = { swapStyle: "outerHTML", swapDelay: 0, settleDelay: 0 };
  const LONGEST_WAIT = 30_000;
  const GONE = new Set([403, 404]);
  const CLOSED_FOR_GOOD = new Set([4403, 4404]);

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

  // --- The link ------------------------------------------------------------------------------------------------------

  /** Follows one dataset, from the element #live. Exactly one mechanism is at work at a time, or none. */
  class Link {
    /** @param {HTMLElement} root */
    constructor(root) {
      this.root = root;
      this.slot = /** @type {HTMLElement} */ (byId("live-socket"));
      this.socket = /** @type {Element} */ (this.slot.firstElementChild).cloneNode(true);
      this.attempts = Number(root.dataset.wsAttempts);
      this.interval = Number(root.dataset.pollMs);
      this.failures = 0;
      this.wait = this.interval;
      this.isOpen = false;
      this.isPolling = false;
      this.isRunning = true;
      this.hasRefresh = false;
      this.lastHeard = new Date();
      /** @type {number | undefined} */
      this.connectTimer = undefined;
      /** @type {number | undefined} */
      this.pollTimer = undefined;
      this.requests = new AbortController();

      root.addEventListener("htmx:wsOpen", () => this.opened());
      root.addEventListener("htmx:wsClose", (event) => this.closed(/** @type {CustomEvent} */ (event).detail.event.code));
      root.addEventListener("htmx:wsBeforeMessage", (event) => {
        this.heard();
        if (this.panel()) return;
        // A page without the panel learns from the message only whether a new run has begun.
        event.preventDefault();
        this.follow(find(/** @type {CustomEvent} */ (event).detail.message, "dataset-live"));
      });
    }

    panel() {
      return byId("dataset-live");
    }

    /** Go on: ask at once, and open the socket. Where that could not be had before, poll until it can. */
    start() {
      if (this.isRunning) return;
      this.isRunning = true;
      this.requests = new AbortController();
      this.connect();
      if (this.failures < this.attempts) void this.ask();
      else this.startPolling();
    }

    stop() {
      this.isRunning = false;
      this.isOpen = false;
      this.stopPolling();
      clearTimeout(this.connectTimer);
      this.requests.abort();
      htmx.swap(this.slot, "", { ...INSTANTLY, swapStyle: "innerHTML" }); // which closes the socket in it
    }

    connect() {
      htmx.swap(this.slot, "", { ...INSTANTLY, swapStyle: "innerHTML" });
      this.slot.append(this.socket.cloneNode(true));
      htmx.process(this.slot.firstElementChild);
    }

    opened() {
      this.isOpen = true;
      this.failures = 0;
      this.stopPolling();
      this.heard();
    }

    /** @param {number} code */
    closed(code) {
      this.isOpen = false;
      if (!this.isRunning) return;
      if (CLOSED_FOR_GOOD.has(code)) {
        this.end();
        return;
      }
      this.failures += 1;
      const wait = this.failures < this.attempts ? 100 * 2 ** this.failures * (0.5 + Math.random()) : LONGEST_WAIT;
      this.connectTimer = setTimeout(() => this.connect(), wait);
      if (this.failures < this.attempts) this.show("Reconnecting", "○");
      else this.startPolling();
    }

    startPolling() {
      if (this.isPolling) return;
      this.isPolling = true;
      this.wait = this.interval;
      void this.poll();
    }

    stopPolling() {
      this.isPolling = false;
      clearTimeout(this.pollTimer);
    }

    async poll() {
      const heard = await this.ask();
      if (!this.isPolling) return;
      this.wait = heard ? this.interval : Math.min(this.wait * 2, LONGEST_WAIT);
      this.pollTimer = setTimeout(() => void this.poll(), this.wait);
    }

    /** Ask for the panel once. @returns {Promise<boolean>} whether the server answered */
    async ask() {
      const { bar = "", version = "", run = "", health } = { ...this.root.dataset, ...this.panel()?.dataset };
      const query = new URLSearchParams({ v: version, run });
      if (health !== undefined) query.set("health", health);
      const { signal } = this.requests;
      try {
        const response = await fetch(`${bar}?${query}`, { headers: { "HX-Request": "true" }, cache: "no-store", signal });
        if (GONE.has(response.status)) this.end();
        else if (!response.ok) throw new Error(`${response.status}`);
        else if (response.status === 200) this.apply(await response.text());
        this.heard();
        return true;
      } catch {
        if (!signal.aborted) this.show(`Offline since ${this.lastHeard.toLocaleTimeString()}`, "×");
        return false;
      }
    }

    /** @param {string} html */
    apply(html) {
      const panel = this.panel();
      const fresh = find(html, "dataset-live");
      if (!panel) this.follow(fresh);
      else if (!isOlder(panel, fresh)) htmx.swap(panel, html, INSTANTLY);
    }

    /**
     * See to what depends on the panel: the rest of the page where the phase is another, the header where the run is.
     *
     * @param {HTMLElement | null} panel
     */
    follow(panel) {
      const header = byId("progress-header");
      const body = byId("dataset-body");
      if (!panel) return;
      if (header && !header.hasAttribute("hx-trigger") && Number(panel.dataset.run) > Number(header.dataset.run)) {
        htmx.ajax("GET", header.dataset.url, { target: header, swap: "outerHTML" });
      }
      if (body && this.panel() && body.dataset.phase !== panel.dataset.phase) void this.refresh();
    }

    /** Fetch this page and take from it what is not pushed. */
    async refresh() {
      if (this.hasRefresh) return;
      this.hasRefresh = true;
      try {
        const response = await fetch(location.href, { cache: "no-store", signal: this.requests.signal });
        if (!response.ok) return;
        const html = await response.text();
        const open = [...document.querySelectorAll("details[open]")].map((details) => details.id);
        const select = { select: "#dataset-body", selectOOB: "#dataset-controls" };
        htmx.swap("#dataset-body", html, { ...INSTANTLY, ignoreTitle: true }, select);
        for (const id of open) byId(id)?.setAttribute("open", "");
      } catch {
        // The next push or poll finds the phase still another, and comes back here.
      } finally {
        this.hasRefresh = false;
      }
    }

    heard() {
      this.lastHeard = new Date();
      if (!this.isRunning) return;
      if (this.isPolling) this.show(`Asking every ${this.interval / 1000} s`, "○");
      else if (this.isOpen) this.show("Live", "●");
    }

    /** The dataset is gone, or may not be seen any more. */
    end() {
      this.stop();
      this.ended = true;
      this.show("This dataset is not here any more", "×");
    }

    /** @param {string} text @param {string} sign */
    show(text, sign) {
      const place = byId("connection");
      const words = `${sign} ${text}`;
      if (!place || place.textContent === words || this.ended !== undefined && sign !== "×") return;
      place.textContent = words;
      place.hidden = false;
    }

    /** @type {boolean | undefined} */
    ended = undefined;
  }

  /** @type {Link | undefined} */
  let link;

  /** @param {Event} event */
  function swapped(event) {
    const root = /** @type {Element} */ (event.target);
    if (!(root instanceof Element)) return;
    steady(root);
    tell(root, true);
    if (root.id === "dataset-live") link?.follow(/** @type {HTMLElement} */ (root));
  }
  document.addEventListener("htmx:oobAfterSwap", swapped);
  document.addEventListener("htmx:afterSwap", swapped);

  // --- Here and away -------------------------------------------------------------------------------------------------

  document.addEventListener("htmx:beforeRequest", (event) => {
    const { elt } = /** @type {CustomEvent} */ (event).detail;
    if (document.hidden && elt.matches('[hx-trigger^="every"]')) event.preventDefault();
  });

  document.addEventListener("htmx:responseError", (event) => {
    const { elt, xhr } = /** @type {CustomEvent} */ (event).detail;
    if (!GONE.has(xhr.status) || !elt.matches('[hx-trigger^="every"]')) return;
    elt.remove(); // which ends its polling
    link?.end();
  });

  function leave() {
    link?.stop();
  }

  function comeBack() {
    if (document.hidden) return;
    refreshTimes();
    if (link && !link.ended) link.start();
    for (const element of document.querySelectorAll('[hx-trigger^="every"]')) {
      htmx.ajax("GET", element.getAttribute("hx-get"), { source: element, target: element, swap: "outerHTML" });
    }
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : comeBack()));
  window.addEventListener("pagehide", leave);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) comeBack();
  });
  window.addEventListener("online", () => {
    leave();
    comeBack();
  });

  const root = byId("live");
  if (root) link = new Link(root);
  if (document.hidden) leave();
  tell(document, false);
  steady(document.documentElement);
  setInterval(() => document.hidden || refreshTimes(), 15_000);
})();
