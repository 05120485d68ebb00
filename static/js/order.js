/**
 * Keeps pages from going back: no fragment replaces a newer one of the same dataset. Versions of two epochs are not
 * compared. An answer is newer than what was shown when it was asked for, whatever its version: the database may have gone
 * back.
 */

import { findIn, parse } from "./dom.js";

/** The epoch and version of each fragment that is shown, by its element's id. @typedef {Map<string, string>} Shown */

/** @param {HTMLElement | null} shown @param {HTMLElement | null} fresh */
export const isOlder = (shown, fresh) =>
  shown?.dataset.version !== undefined &&
  fresh?.dataset.version !== undefined &&
  shown.dataset.dataset === fresh.dataset.dataset &&
  shown.dataset.epoch === fresh.dataset.epoch &&
  Number(fresh.dataset.version) < Number(shown.dataset.version);

/** @returns {Shown} what is shown now, to be kept by who asks for something */
export const shownNow = () => new Map(fragmentsIn(document).map((fragment) => [fragment.id, keyOf(fragment)]));

/**
 * Let an answer replace whatever is still as it was when the answer was asked for.
 *
 * @param {string} html @param {Shown} before
 */
export function acceptAnswer(html, before) {
  for (const fresh of fragmentsIn(parse(html))) {
    for (const shown of fragmentsIn(document)) {
      if (isOlder(shown, fresh) && before.get(shown.id) === keyOf(shown)) shown.removeAttribute("data-version");
    }
  }
}

export function keepOrder() {
  /** @type {WeakMap<XMLHttpRequest, Shown>} */
  const asked = new WeakMap();
  document.addEventListener("htmx:beforeRequest", (event) => {
    asked.set(/** @type {CustomEvent} */ (event).detail.xhr, shownNow());
  });
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = /** @type {CustomEvent} */ (event).detail;
    if (isOlder(target, fragment.firstElementChild)) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, xhr, serverResponse, shouldSwap } = /** @type {CustomEvent} */ (event).detail;
    if (!shouldSwap || !target.id) return;
    acceptAnswer(serverResponse, asked.get(xhr) ?? new Map());
    // The page of a proxy, or one that asks to sign in, does not have the element.
    const fresh = findIn(serverResponse, target.id);
    if (!fresh || isOlder(target, fresh)) event.preventDefault();
  });
}

/** @param {Document} root @returns {HTMLElement[]} */
function fragmentsIn(root) {
  return [...root.querySelectorAll("[id][data-version]")].map((fragment) => /** @type {HTMLElement} */ (fragment));
}

/** @param {HTMLElement} fragment */
function keyOf({ dataset }) {
  return `${dataset.epoch} ${dataset.version}`;
}
