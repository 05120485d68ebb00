/** Keeps pages from going back: no fragment replaces a newer one of the same dataset. */

import { findIn } from "./dom.js";

/** @param {HTMLElement | null} shown @param {HTMLElement | null} fresh */
export const isOlder = (shown, fresh) =>
  shown?.dataset.version !== undefined &&
  fresh?.dataset.version !== undefined &&
  shown.dataset.dataset === fresh.dataset.dataset &&
  Number(fresh.dataset.version) < Number(shown.dataset.version);

export function keepOrder() {
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = /** @type {CustomEvent} */ (event).detail;
    if (isOlder(target, fragment.firstElementChild)) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, serverResponse, shouldSwap } = /** @type {CustomEvent} */ (event).detail;
    if (!shouldSwap || !target.id) return;
    // The page of a proxy, or one that asks to sign in, does not have the element.
    const fresh = findIn(serverResponse, target.id);
    if (!fresh || isOlder(target, fresh)) event.preventDefault();
  });
}
