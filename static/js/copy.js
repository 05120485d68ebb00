/** Copies code to the clipboard: a button with `data-copy` copies the text of the element with that id. */

import { byId } from "./dom.js";

/** Show the buttons. The browser has a clipboard only where the connection is secure. */
export function showCopyButtons() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copy]")) /** @type {HTMLElement} */ (button).hidden = false;
}

export function listenForCopies() {
  document.addEventListener("click", async (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
    if (!(button instanceof HTMLElement)) return;
    try {
      await navigator.clipboard.writeText(byId(button.dataset.copy ?? "")?.textContent ?? "");
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy it by hand";
    }
  });
}
