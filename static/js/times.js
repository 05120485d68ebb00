/** Keeps relative times true while the page is open. */

const INTERVAL = 15_000;
const LONGEST = 28 * 86_400; // seconds; older times show their date

// How far the server's clock is ahead of this machine's, in milliseconds: times are the server's.
const ahead = Date.parse(document.documentElement.dataset.now ?? "") - Date.now() || 0;

const format = new Intl.RelativeTimeFormat("en", { numeric: "always" });

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];

export function refreshTimes() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const seconds = (Date.now() + ahead - Date.parse(/** @type {HTMLTimeElement} */ (element).dateTime)) / 1000;
    if (seconds >= LONGEST) continue;
    const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? UNITS[3];
    const text = format.format(-Math.floor(seconds / size), unit);
    if (element.hasAttribute("data-elapsed")) element.textContent = text.replace(" ago", "");
    else element.textContent = seconds < 10 ? "just now" : text;
  }
}

export function keepTimesTrue() {
  setInterval(() => document.hidden || refreshTimes(), INTERVAL);
}
