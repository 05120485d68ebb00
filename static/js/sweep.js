/** A quiet sweep, once, over a dataset that becomes ready before one's eyes. */

import { byId } from "./dom.js";

/** @param {string} dataset */
export function sweepOver(dataset) {
  const place = placeOf(dataset);
  if (!place || document.hidden || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const sweep = document.createElement("div");
  sweep.className = "sweep";
  sweep.dataset.over = dataset;
  sweep.setAttribute("aria-hidden", "true");
  layOver(sweep, place);
  sweep.addEventListener("animationend", () => sweep.remove());
  document.body.append(sweep);
}

/** Have each sweep go on where its dataset is by now: its row moves to another group, or is replaced. */
export function followSweeps() {
  for (const sweep of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".sweep"))) {
    const place = placeOf(sweep.dataset.over ?? "");
    if (place) layOver(sweep, place);
    else sweep.remove();
  }
}

/** @param {string} dataset */
function placeOf(dataset) {
  const panel = byId("dataset-live");
  return panel?.dataset.dataset === dataset ? panel : byId(`row-${dataset}`)?.closest(".row");
}

/** It lies over the page, and not in the place, which may be replaced. @param {HTMLElement} sweep @param {Element} place */
function layOver(sweep, place) {
  const { left, top, width, height } = place.getBoundingClientRect();
  Object.assign(sweep.style, { left: `${left + scrollX}px`, top: `${top + scrollY}px`, width: `${width}px`, height: `${height}px` });
}
