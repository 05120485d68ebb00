/** A part of a page that the server is too busy for is asked for again, as soon as the server says. */

import { htmx } from "./dom.js";

const SECONDS = 3;

/** Of an element whose `hx-trigger` has `again`, and which has an element with `data-busy`: what to show meanwhile. */
export function askAgainWhenBusy() {
  document.addEventListener("htmx:responseError", (event) => {
    const { elt, xhr } = /** @type {CustomEvent} */ (event).detail;
    const text = elt.querySelector("[data-busy]");
    if (xhr.status !== 503 || !text) return;
    text.textContent = text.dataset.busy;
    setTimeout(() => htmx.trigger(elt, "again"), 1000 * (Number(xhr.getResponseHeader("Retry-After")) || SECONDS));
  });
}
