/** Keeps the rows that are chosen in the list chosen while their elements are replaced, and counts them. */

import { byId } from "./dom.js";

const BOXES = "#rows input[name='dataset'][type='checkbox']";

/** @type {Set<string>} their datasets */
const chosen = new Set();

const boxes = () => [...document.querySelectorAll(BOXES)].map((box) => /** @type {HTMLInputElement} */ (box));

export function listenForChoices() {
  document.addEventListener("change", ({ target }) => target instanceof Element && target.matches(BOXES) && note());
  // The form is reset after the event.
  document.addEventListener("reset", ({ target }) => target === byId("chosen") && setTimeout(note));
  // A search has changed the address since the form was made.
  document.addEventListener("submit", ({ target }) => {
    const back = target === byId("chosen") && document.querySelector("#chosen [name='next']");
    if (back instanceof HTMLInputElement) back.value = location.pathname + location.search;
  });
  document.addEventListener("click", ({ target }) => {
    if (target !== byId("chosen-all")) return;
    for (const box of boxes()) box.checked = true;
    note();
  });
  note();
}

/** Choose what was chosen before, in rows that may be new. Those that are gone are not chosen any more. */
export function restoreChoices() {
  for (const box of boxes()) box.checked = chosen.has(box.value);
  note();
}

/** Choose the row of the link with the focus, or do not choose it any more. */
export function toggleFocused() {
  const box = document.activeElement?.closest(".row")?.querySelector("input[type='checkbox']");
  if (box instanceof HTMLInputElement) box.click();
}

function note() {
  const all = boxes();
  chosen.clear();
  for (const box of all) if (box.checked) chosen.add(box.value);
  const [count, button] = [byId("chosen-count"), byId("chosen-all")];
  const text = `${chosen.size} chosen`;
  if (count && count.textContent !== text) count.textContent = text;
  if (button) button.hidden = chosen.size === all.length;
}
