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
  const LONGEST_SILENCE = 15_000; // the server says something three times as often
  const LONGEST_OPENING = 6_000; // and something at once
  const RESTING_POLL = 4_000;
  const TICK = 2_000;
  const TOGETHER = 200;
  const OLDEST_ROWS = 60_000; // of rows that nothing was said of, since not everything is said
  const KEEPALIVE = "<!-- here -->";
  const NEW_DATASET = "<!-- new dataset -->";
  const GONE_ROW = "<!-- gone -->";
  const WATCHERS = /<!-- watchers (\d+) -->$/;
  const PER_WATCHER = 10; // milliseconds that the server takes for what each of them fetches
  const NOT_FOUND = 4404;
  const TOO_MANY = 4429;
  const MISSING = new Set([403, 404]);

  /** Full jitter keeps pages apart; some is enough where they are apart already. @param {number} milliseconds */
  const about = (milliseconds) => milliseconds * (0.8 + 0.2 * Math.random());

  /** Milliseconds on a clock that nobody sets. */
  const now = () => performance.now();

  /** @type {WebSocket | undefined} the one that is open, or being opened */
  let socket;

  // What is to be done about a socket that is closed is decided here, and before the extension hears of it: by then its
  // element is gone, so the extension does not open another one by itself.
  htmx.createWebSocket = (/** @type {string} */ url) => {
    const opened = new WebSocket(url);
    socket = opened;
    opened.addEventListener("close", ({ code }) => {
      if (opened === socket) link?.closed(code);
    });
    return opened;
  };

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
    if (!shouldSwap || !target.dataset?.version) return;
    const fresh = find(serverResponse, target.id); // which the page of a proxy, or one that asks to sign in, has not
    if (!fresh || isOlder(target, fresh)) event.preventDefault();
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
      if (aloud && before) announce(`${dataset}: ${label}`);
    }
  }

  /** @type {string[]} */
  const news = [];

  /** What comes together is said together: of two texts after each other, the first would not be heard. @param {string} words */
  function announce(words) {
    if (news.push(words) > 1) return;
    setTimeout(() => {
      const announcer = byId("announcer");
      if (announcer) announcer.textContent = news.splice(0).join(". ");
    }, TOGETHER);
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

  // --- What is fetched -------------------------------------------------------------------------------------------------

  /**
   * Fetches something, some time after it was asked to: all pages that watch a dataset want theirs in the same moment,
   * so each takes one of its own. After a failure it takes ever longer.
   */
  class Errand {
    /**
     * @param {() => Promise<boolean>} work
     * @param {() => void} again called after work during which it was asked for once more: the answer may be older
     * @param {number} apart the least time between two
     */
    constructor(work, again, apart) {
      this.work = work;
      this.again = again;
      this.apart = apart;
      this.isAtWork = false;
      this.isAskedAgain = false;
      this.watchers = 0;
      this.failures = 0;
      this.notBefore = 0;
      this.timer = 0;
    }

    ask() {
      this.isAskedAgain = this.isAtWork;
      if (this.timer) return;
      const wait = Math.max(Math.random() * this.watchers * PER_WATCHER, this.notBefore - now());
      this.timer = window.setTimeout(() => void this.run(), wait);
    }

    async run() {
      const { timer } = this;
      this.isAtWork = true;
      const isDone = await this.work();
      if (this.timer !== timer) return; // it was cancelled meanwhile
      const isAskedAgain = this.isAskedAgain;
      this.cancel();
      this.failures = isDone ? 0 : this.failures + 1;
      this.notBefore = now() + (isDone ? this.apart : Math.min(1000 * 2 ** this.failures, LONGEST_WAIT));
      if (isAskedAgain) this.again();
    }

    cancel() {
      clearTimeout(this.timer);
      this.timer = 0;
      this.isAtWork = this.isAskedAgain = false;
    }

    /** @param {string} message which may say how many watch */
    count(message) {
      const said = WATCHERS.exec(message);
      if (said) this.watchers = Number(said[1]);
    }
  }

  // --- What a page shows of its datasets -----------------------------------------------------------------------------

  /**
   * What the link keeps in step.
   *
   * @typedef {object} View
   * @property {() => string} socket the address of its socket
   * @property {() => string} source the address at which its state is asked for
   * @property {(html: string) => boolean} apply show an answer from there, unless something newer is shown; whether it is
   *   one, and not a page that a proxy has put in its place
   * @property {(message: string) => boolean} take look at a pushed message; whether htmx is to swap it
   * @property {() => void} settle see to what depends on what is shown
   * @property {() => boolean} isResting whether nothing is under way
   * @property {Errand} errand what fetches the rest of the page
   */

  /** @implements {View} the page of one dataset, whether its panel is on it or not */
  class DatasetView {
    /** @param {Link} link */
    constructor(link) {
      this.link = link;
      this.root = link.root;
      this.errand = new Errand(() => this.refresh(), () => this.settle(), 0);
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
      if (!fresh) return false;
      if (!panel) this.learn(fresh);
      else if (!isOlder(panel, fresh)) htmx.swap(panel, html, INSTANTLY);
      return true;
    }

    /** What a page without the panel wants to know of it. @param {HTMLElement | null} fresh */
    learn(fresh) {
      if (!fresh || isOlder(this.root, fresh)) return;
      const { version, run, phase, health } = fresh.dataset;
      Object.assign(this.root.dataset, { version, run, phase, health });
      this.wakeHeader(fresh);
    }

    /** @param {string} message */
    take(message) {
      if (this.panel()) return true;
      this.learn(find(message, "dataset-live"));
      return false;
    }

    settle() {
      const panel = this.panel();
      const body = byId("dataset-body");
      this.wakeHeader(panel);
      if (panel && body && body.dataset.phase !== panel.dataset.phase) this.errand.ask();
    }

    /** @param {HTMLElement | null} panel */
    wakeHeader(panel) {
      const header = byId("progress-header");
      if (!panel || !header || header.hasAttribute("hx-trigger")) return;
      if (Number(panel.dataset.version) <= Number(header.dataset.version)) return;
      htmx.ajax("GET", header.dataset.url, { source: header, target: header, swap: "outerHTML" });
    }

    /** Fetch this page and take from it what is not pushed. @returns {Promise<boolean>} whether it was to be had */
    async refresh() {
      try {
        const response = await fetch(location.href, { cache: "no-store", signal: this.link.patience() });
        const html = response.ok ? await response.text() : "";
        if (!find(html, "dataset-body")) return false; // another page: one that asks to sign in, or to wait
        const open = [...document.querySelectorAll("details[open]")].map((details) => details.id);
        // The panel as well: the page may be newer than it.
        const select = { select: "#dataset-body", selectOOB: "#dataset-live,#dataset-controls" };
        htmx.swap("#dataset-body", html, { ...INSTANTLY, ignoreTitle: true }, select);
        for (const id of open) byId(id)?.setAttribute("open", "");
        return true;
      } catch {
        return false; // the next message finds the phase still another
      }
    }
  }

  /** @implements {View} the rows of the list */
  class ListView {
    /** @param {Link} link */
    constructor(link) {
      this.link = link;
      this.errand = new Errand(() => this.catchUp(), () => this.errand.ask(), 2000);
      this.refreshedAt = now();
      this.isBehind = false; // whether there are rows, or are no more, that it was told of and has not fetched
      this.isRowGone = false;
    }

    /** @returns {Promise<boolean>} whether the rows were to be had */
    async catchUp() {
      this.isBehind = false; // what it is told of from now on may not be in the answer
      const isDone = (await this.link.ask()) === "answered";
      this.isBehind ||= !isDone;
      return isDone;
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
      if (!rows) return false;
      this.refreshedAt = now();
      const before = this.shown();
      const isSame = this.frame(rows) === this.frame(this.rows());
      for (const fresh of this.moving(rows)) {
        const shown = byId(fresh.id);
        // What was pushed while the answer was on its way is newer than it.
        if (shown && isOlder(shown, fresh)) fresh.replaceWith(shown.cloneNode(true));
        else if (isSame) htmx.swap(shown, fresh.outerHTML, INSTANTLY);
      }
      if (isSame) Object.assign(this.rows().dataset, rows.dataset);
      else htmx.swap("#rows", rows.outerHTML, INSTANTLY);
      // Where a dataset is gone there may be another of its id, which the socket does not know of.
      if (this.shown() !== before || this.isRowGone) this.link.reconnect();
      this.isRowGone = false;
      return true;
    }

    /** What moves in the rows. @param {ParentNode} rows @returns {HTMLElement[]} */
    moving(rows) {
      return [...rows.querySelectorAll("[id^='row-']")].map((row) => /** @type {HTMLElement} */ (row));
    }

    /** All the rest of them: as long as it is the same, links keep the focus, and clicks their target. @param {HTMLElement} rows */
    frame(rows) {
      const frame = /** @type {HTMLElement} */ (rows.cloneNode(true));
      for (const row of this.moving(frame)) row.remove();
      return frame.innerHTML;
    }

    /** @param {string} message */
    take(message) {
      this.isRowGone ||= message === GONE_ROW;
      if (message !== GONE_ROW && !message.startsWith(NEW_DATASET)) return true;
      this.isBehind = true;
      this.errand.ask();
      return false;
    }

    settle() {
      for (const row of document.querySelectorAll("#rows li[data-phase]")) {
        const { phase } = /** @type {HTMLElement} */ (row).dataset;
        const live = /** @type {HTMLElement | null} */ (row.querySelector("[id^='row-']"));
        if (live && live.dataset.phase !== phase) this.errand.ask();
      }
      if (this.isBehind || now() - this.refreshedAt > OLDEST_ROWS) this.errand.ask();
    }
  }

  // --- The link ------------------------------------------------------------------------------------------------------

  /**
   * Keeps a view in step, from the element #live. A socket that speaks is all there is; where none has spoken for as
   * long as the interval of polling, since it was asked for or closed, the state is asked for until one does.
   */
  class Link {
    /** @param {HTMLElement} root */
    constructor(root) {
      this.root = root;
      this.slot = /** @type {HTMLElement} */ (byId("live-socket"));
      this.attempts = Number(root.dataset.wsAttempts);
      this.interval = Number(root.dataset.pollMs);
      this.failures = 0;
      this.errors = 0;
      this.looks = 0;
      this.isHeard = false; // whether the socket has said anything since it was opened
      /** @type {object | undefined} */
      this.polling = undefined; // which one it is: an answer to one that was ended may come in the time of the next
      this.isRunning = false;
      this.isGone = false; // whether the dataset was not there, or not for this page, when it was asked for last
      this.heardAt = Date.now();
      this.spokenAt = now(); // when the socket has last said anything
      this.connectTimer = 0;
      this.openTimer = 0;
      this.pollTimer = 0; // for the next question, or the first one
      this.lookTimer = 0;
      this.requests = new AbortController();
      /** @type {View} */
      this.view = root.dataset.bar ? new DatasetView(this) : new ListView(this);

      root.addEventListener("htmx:wsBeforeMessage", (event) => {
        const { message } = /** @type {CustomEvent} */ (event).detail;
        this.told();
        this.view.errand.count(message);
        if (message === KEEPALIVE) this.view.settle();
        if (message === KEEPALIVE || !this.view.take(message)) event.preventDefault();
      });
    }

    /** @param {boolean} ask whether what is shown may be old: then it is asked for at once as well */
    start(ask) {
      if (this.isRunning) return;
      this.isRunning = true;
      this.requests = new AbortController();
      if (this.isGone) {
        void this.look();
        return;
      }
      this.connect();
      if (this.failures >= this.attempts) this.startPolling();
      else if (ask) void this.ask();
    }

    stop() {
      this.isRunning = false;
      this.rest();
      this.view.errand.cancel();
      this.requests.abort();
    }

    /** No mechanism is at work. */
    rest() {
      this.stopPolling();
      clearTimeout(this.connectTimer);
      clearTimeout(this.lookTimer);
      this.disconnect();
    }

    connect() {
      clearTimeout(this.connectTimer);
      this.disconnect();
      this.openTimer = window.setTimeout(() => this.closed(0), LONGEST_OPENING);
      this.mind();
      const element = document.createElement("div");
      element.setAttribute("hx-ext", "ws");
      element.setAttribute("ws-connect", this.view.socket());
      this.slot.append(element);
      htmx.process(element);
    }

    disconnect() {
      socket = undefined;
      this.isHeard = false;
      clearTimeout(this.openTimer);
      htmx.swap(this.slot, "", { ...INSTANTLY, swapStyle: "innerHTML" }); // which closes the socket in it
    }

    /** The socket has another address now. */
    reconnect() {
      if (this.isRunning && (socket || !this.polling)) this.connect();
    }

    /** The socket has said something: only now is it known to work. */
    told() {
      if (!this.isHeard) freeHeader();
      this.isHeard = true;
      this.spokenAt = now();
      this.failures = 0;
      clearTimeout(this.openTimer);
      clearTimeout(this.connectTimer);
      this.stopPolling();
      this.heard();
    }

    /** @param {number} code */
    closed(code) {
      this.disconnect();
      if (!this.isRunning || this.isGone) return;
      this.failures = code === TOO_MANY ? this.attempts : this.failures + 1;
      if (code === NOT_FOUND) void this.look();
      else this.retry();
    }

    /** Try the socket again, after a while; after too many attempts, not often. */
    retry() {
      clearTimeout(this.connectTimer);
      const isTrying = this.failures < this.attempts;
      // Full jitter: a restarted server is not to meet all its pages in the same moment.
      const wait = isTrying ? Math.random() * 500 * 2 ** this.failures : about(LONGEST_WAIT);
      this.connectTimer = window.setTimeout(() => this.connect(), wait);
      if (isTrying) this.mind();
      else this.startPolling();
      if (!this.errors) this.describe();
    }

    /** Nothing is heard from now on: ask, unless that has changed by then. All sockets of a server close at once. */
    mind() {
      if (this.polling) return;
      this.pollTimer ||= window.setTimeout(() => this.startPolling(), this.interval * (1 + Math.random()) / 2);
    }

    startPolling() {
      if (this.polling) return;
      clearTimeout(this.pollTimer);
      this.polling = {};
      void this.poll(this.polling);
    }

    stopPolling() {
      clearTimeout(this.pollTimer);
      this.pollTimer = this.errors = 0;
      this.polling = undefined;
    }

    /** @param {object} polling */
    async poll(polling) {
      const answer = await this.ask();
      if (this.polling !== polling) return;
      if (answer === "missing") {
        this.stopPolling();
        void this.look();
        return;
      }
      if (answer === "answered" && this.errors > 0) {
        // The server is back, so its socket may be.
        freeHeader();
        if (!socket && this.failures >= this.attempts) {
          clearTimeout(this.connectTimer);
          this.connectTimer = window.setTimeout(() => this.connect(), Math.random() * LONGEST_OPENING);
        }
      }
      this.errors = answer === "answered" ? 0 : this.errors + 1;
      const usual = this.view.isResting() ? Math.max(this.interval, RESTING_POLL) : this.interval;
      const wait = Math.min(usual * 2 ** this.errors, LONGEST_WAIT);
      this.pollTimer = window.setTimeout(() => void this.poll(polling), about(wait));
    }

    /** Something has said that the dataset is not here: ask, and go on asking where that is so. It may come back. */
    async look() {
      clearTimeout(this.lookTimer);
      const { signal } = this.requests;
      const answer = await this.ask();
      if (signal.aborted) return;
      if (answer === "missing") {
        this.rest();
        this.failures ||= 1; // should it come back, there is no socket
        this.isGone = true;
        this.show("This dataset is not here any more", "×");
        this.lookTimer = window.setTimeout(() => void this.look(), about(Math.min(2000 * 2 ** this.looks++, LONGEST_WAIT)));
        return;
      }
      if (answer === "answered") {
        this.looks = 0;
        freeHeader();
      }
      this.isGone = false;
      if (!this.isHeard) this.retry();
    }

    /** What ends a request: that the page is left, or that it takes too long. @returns {AbortSignal} */
    patience() {
      const { signal } = this.requests;
      return "any" in AbortSignal ? AbortSignal.any([signal, AbortSignal.timeout(LONGEST_WAIT)]) : signal;
    }

    /** Ask for the state once. @returns {Promise<"answered" | "missing" | "failed">} */
    async ask() {
      const { signal } = this.requests;
      try {
        const response = await fetch(this.view.source(), {
          headers: { "HX-Request": "true" },
          cache: "no-store",
          signal: this.patience(),
        });
        if (MISSING.has(response.status)) return "missing";
        if (!response.ok) throw new Error(`${response.status}`);
        if (response.status === 200) {
          const html = await response.text();
          if (signal.aborted) return "failed";
          if (!this.view.apply(html)) throw new Error("another page");
        }
        this.view.settle();
        this.heard();
        return "answered";
      } catch {
        if (!signal.aborted && !this.isHeard) this.show(`Offline since ${new Date(this.heardAt).toLocaleTimeString()}`, "×");
        return "failed";
      }
    }

    heard() {
      this.heardAt = Date.now();
      if (this.isRunning) this.describe();
    }

    /** Say how the page is kept in step. */
    describe() {
      if (this.isHeard) this.show("Live", "●");
      else if (this.failures >= this.attempts) this.show(`Asking every ${this.interval / 1000} s`, "○");
      else if (this.failures) this.show("Reconnecting", "○");
      else if (this.polling) this.show("Connecting", "○");
    }

    /** Of a line that is broken somewhere on its way, nobody tells the browser. */
    check() {
      if (!this.isRunning || !this.isHeard || now() - this.spokenAt < LONGEST_SILENCE) return;
      this.closed(0);
      this.startPolling();
    }

    /** The browser says that it has no network; the server may be on this machine all the same. */
    async doubt() {
      const { signal } = this.requests;
      if (!this.isRunning || !this.isHeard || (await this.ask()) !== "failed") return;
      if (this.isHeard && !signal.aborted) this.closed(0);
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
    if (isPoller(elt) && (document.hidden || now() < headerNotBefore)) event.preventDefault();
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    const { requestConfig, xhr } = /** @type {CustomEvent} */ (event).detail;
    if (!isPoller(requestConfig.elt)) return; // which a swap has replaced by now
    headerErrors = xhr.status >= 200 && xhr.status < 300 ? 0 : headerErrors + 1;
    headerNotBefore = headerErrors ? now() + Math.min(3000 * 2 ** (headerErrors - 1), LONGEST_WAIT) - 500 : 0;
    if (!MISSING.has(xhr.status)) return;
    headerNotBefore = now() + LONGEST_WAIT - 500;
    void link?.look();
  });

  /** Whatever was wrong, it is not any more. */
  function freeHeader() {
    headerErrors = headerNotBefore = 0;
  }

  // --- Here and away -------------------------------------------------------------------------------------------------

  let tickedAt = Date.now();

  function leave() {
    link?.stop();
  }

  function comeBack() {
    if (document.hidden) return;
    tickedAt = Date.now(); // hidden, a browser lets it tick less often
    refreshTimes();
    freeHeader();
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
  window.addEventListener("offline", () => void link?.doubt());

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
