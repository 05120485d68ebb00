/**
 * The polling of the header and of the workers. htmx does it, by the element's `hx-trigger="every 3s"`; here it rests while
 * the page is hidden and what is folded, and polls ever less often while the answers are errors.
 */

import { htmx } from "./dom.js";
import { doubled } from "./timer.js";

const POLLERS = '[hx-trigger^="every"]';
const INTERVAL = 3_000;
const LONGEST_WAIT = 30_000;
const EARLY = 500; // a poll that comes so much before its time is let through
const MISSING = [403, 404];

let failures = 0;
let notBefore = 0;

/** Poll at the usual interval again: the server answers. */
export function forgetHeaderFailures() {
  failures = notBefore = 0;
}

/** Poll at once, and not only after the rest of the interval. */
export function pollHeaderNow() {
  for (const element of document.querySelectorAll(POLLERS)) {
    htmx.ajax("GET", element.getAttribute("hx-get"), { source: element, target: element, swap: "outerHTML" });
  }
}

/** @param {() => void} onMissing called where the server says that the dataset does not exist */
export function watchHeader(onMissing) {
  document.addEventListener("htmx:beforeRequest", (event) => {
    const { elt } = /** @type {CustomEvent} */ (event).detail;
    if (!elt.matches(POLLERS)) return;
    const isSeen = !document.hidden && !elt.closest("details:not([open])");
    if (!isSeen || performance.now() < notBefore) event.preventDefault();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { requestConfig, xhr } = /** @type {CustomEvent} */ (event).detail;
    if (!requestConfig.elt.matches(POLLERS)) return; // a swap may have replaced it by now
    failures = xhr.status >= 200 && xhr.status < 300 ? 0 : failures + 1;
    notBefore = failures ? performance.now() + doubled(INTERVAL, failures - 1, LONGEST_WAIT) - EARLY : 0;
    if (!MISSING.includes(xhr.status)) return;
    notBefore = performance.now() + LONGEST_WAIT - EARLY;
    onMissing();
  });
}
