/**
 * Reads what the server pushes to pages. The format is the wire's, and `apps/live/rendering.py` writes it: fragments of
 * HTML with `hx-swap-oob`, each frame followed by a comment that says how many pages watch; or a comment alone, which is
 * a notice. A keepalive is followed by one that says how many sockets the server process has. A browser shows no comments, so a page that does not know one loses nothing.
 */

/**
 * - `keepalive`: nothing has changed
 * - `new dataset`: there is a dataset that the list does not have
 * - `gone`: a dataset of the list is gone, or may not be seen any more
 *
 * @typedef {"keepalive" | "new dataset" | "gone"} Notice
 */

/**
 * @typedef {object} Frame
 * @property {string} html
 * @property {Notice | null} notice
 * @property {number | null} watchers
 * @property {number | null} sockets
 */

/** @type {Map<string, Notice>} */
const NOTICES = new Map([
  ["<!-- here -->", "keepalive"],
  ["<!-- new dataset -->", "new dataset"],
  ["<!-- gone -->", "gone"],
]);
const COUNT = /<!-- (watchers|sockets) (\d+) -->$/;

/** @param {string} text @returns {Frame} */
export function readFrame(text) {
  const found = COUNT.exec(text);
  const html = found ? text.slice(0, found.index) : text;
  /** @param {string} what */
  const count = (what) => (found?.[1] === what ? Number(found[2]) : null);
  return { html, notice: NOTICES.get(html) ?? null, watchers: count("watchers"), sockets: count("sockets") };
}
