/** A quiet sweep, once, over a dataset that becomes ready before one's eyes. */

const PLACES = "#dataset-live, .row";

/** @param {Element} bar of the dataset */
export function sweepOver(bar) {
  const place = bar.closest(PLACES);
  if (!place || document.hidden || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const { left, top, width, height } = place.getBoundingClientRect();
  const sweep = document.createElement("div");
  sweep.className = "sweep";
  sweep.setAttribute("aria-hidden", "true");
  // It lies over the page, because the place may be replaced meanwhile.
  Object.assign(sweep.style, { left: `${left + scrollX}px`, top: `${top + scrollY}px`, width: `${width}px`, height: `${height}px` });
  sweep.addEventListener("animationend", () => sweep.remove());
  document.body.append(sweep);
}
