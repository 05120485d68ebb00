/**
 * Reads what the server pushes to pages. The format is the wire's, and `apps/live/rendering.py` writes it: fragments of
 * HTML with `hx-swap-oob`, each frame followed by a comment that says how many pages watch; or a comment alone, which is
 * a notice. A browser shows no comments, so a page that does not know one loses nothing.
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
 */

/** @type {Map<string, Notice>} */
const NOTICES = new Map([
  ["<!-- here -->", "keepalive"],
  ["<!-- new dataset -->", "new dataset"],
  ["<!-- gone -->", "gone"],
]);
const WATCHERS = /<!-- watchers (\d+) -->$/;

/** @param {string} text @returns {Frame} */
export function readFrame(text) {
  const watchers = WATCHERS.exec(text);
  const html = watchers ? text.slice(0, watchers.index) : text;
  return { html, notice: NOTICES.get(html) ?? null, watchers: watchers ? Number(watchers[1]) : null };
}
