/** Announces changes of state to screen readers, each once. */

import { byId } from "./dom.js";
import { sweepOver } from "./sweep.js";

const TOGETHER = 200;

/** @type {Map<string, {state: string, epoch: string, version: number}>} by dataset */
const lastAnnounced = new Map();

/** @type {string[]} */
const waiting = [];

/**
 * Announce the states of the bars in `root` that are not what they were.
 *
 * @param {ParentNode} root @param {{isFirst: boolean}} options whether the page is new: then nothing is announced
 */
export function announceStates(root, { isFirst }) {
  const bars = [...root.querySelectorAll("[data-state][data-dataset]")];
  if (root instanceof Element && root.matches("[data-state][data-dataset]")) bars.push(root);
  for (const bar of bars) {
    const { dataset = "", state = "", label = "", epoch = "", version = "0" } = /** @type {HTMLElement} */ (bar).dataset;
    const last = lastAnnounced.get(dataset);
    if (last && (last.state === state || (last.epoch === epoch && Number(version) <= last.version))) continue;
    lastAnnounced.set(dataset, { state, epoch, version: Number(version) });
    if (isFirst || !last) continue;
    announce(`${dataset}: ${label}`);
    if (state === "ready") sweepOver(dataset);
  }
}

/** Of two texts right after each other the first would not be heard, so they are joined. @param {string} text */
function announce(text) {
  if (waiting.push(text) > 1) return;
  setTimeout(() => {
    const announcer = byId("announcer");
    if (announcer) announcer.textContent = waiting.splice(0).join(". ");
  }, TOGETHER);
}
