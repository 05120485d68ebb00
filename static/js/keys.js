/** The keys of the list: `/` goes to the search, `j` and `k` to the next and the previous dataset, and `x` chooses it. */

import { toggleFocused } from "./choosing.js";
import { byId } from "./dom.js";

const LINKS = "#rows a[id^='link-']";

export function listenForKeys() {
  document.addEventListener("keydown", (event) => {
    const { altKey, ctrlKey, key, metaKey, target } = event;
    if (altKey || ctrlKey || metaKey || (target instanceof Element && target.matches("input, select, textarea"))) return;
    if (key === "/") focus(byId("search"), event);
    if (key === "j") focus(linkAt(1), event);
    if (key === "k") focus(linkAt(-1), event);
    if (key === "x") toggleFocused();
  });
}

/** @param {number} step @returns {HTMLElement | undefined} the link that many after the focused one; first or last without */
function linkAt(step) {
  const links = [...document.querySelectorAll(LINKS)].map((link) => /** @type {HTMLElement} */ (link));
  const place = links.findIndex((link) => link === document.activeElement);
  if (place < 0) return step > 0 ? links[0] : links.at(-1);
  return links[Math.min(Math.max(place + step, 0), links.length - 1)];
}

/** @param {HTMLElement | null | undefined} element @param {Event} event */
function focus(element, event) {
  if (!element) return;
  event.preventDefault();
  element.focus();
}
