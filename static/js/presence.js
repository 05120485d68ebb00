/** Tells when the page is looked at and when it rests: hidden, in the back/forward cache, or on a laptop that slept. */

const TICK = 2_000;
const LONGEST_TICK = 4 * TICK; // a longer one means that the machine slept

/**
 * @param {object} callbacks
 * @param {() => void} callbacks.leave
 * @param {() => void} callbacks.comeBack what is shown may be old by then
 * @param {() => void} callbacks.onOffline the browser says that it has no network
 */
export function watchPresence({ leave, comeBack, onOffline }) {
  let tickedAt = Date.now();

  function arrive() {
    if (document.hidden) return;
    tickedAt = Date.now(); // a browser lets hidden pages tick less often
    comeBack();
  }

  function startAgain() {
    leave();
    arrive();
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : arrive()));
  window.addEventListener("pagehide", leave);
  window.addEventListener("pageshow", ({ persisted }) => persisted && arrive());
  window.addEventListener("online", startAgain);
  window.addEventListener("offline", onOffline);
  setInterval(() => {
    const hasSlept = Date.now() - tickedAt > LONGEST_TICK;
    tickedAt = Date.now();
    if (hasSlept && !document.hidden) startAgain();
  }, TICK);
}
