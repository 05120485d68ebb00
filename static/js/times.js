/** Keeps relative times true while the page is open, and shows all times in the reader's own zone. */

const INTERVAL = 15_000;
const LONGEST = 28 * 86_400; // seconds; older times show their date

// How far the server's clock is ahead of this machine's, in milliseconds: times are the server's.
const ahead = Date.parse(document.documentElement.dataset.now ?? "") - Date.now() || 0;

const format = new Intl.RelativeTimeFormat("en", { numeric: "always" });
const exact = new Intl.DateTimeFormat("en-GB", { dateStyle: "long", timeStyle: "long" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];

export function refreshTimes() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const { dateTime, dataset, title } = /** @type {HTMLTimeElement} */ (element);
    const moment = new Date(dateTime);
    if (title) /** @type {HTMLTimeElement} */ (element).title = exact.format(moment);
    if (dataset.clock !== undefined) element.textContent = clock(moment, dataset.clock === "seconds");
    else showRelative(element, moment);
  }
}

/** @param {Element} element @param {Date} moment */
function showRelative(element, moment) {
  const seconds = (Date.now() + ahead - moment.getTime()) / 1000;
  if (seconds >= LONGEST) return;
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? UNITS[3];
  const text = format.format(-Math.floor(seconds / size), unit);
  if (element.hasAttribute("data-elapsed")) element.textContent = text.replace(" ago", "");
  else element.textContent = seconds < 10 ? "just now" : text;
}

/** The time of day, with the date if it is not today. @param {Date} moment @param {boolean} withSeconds */
function clock(moment, withSeconds) {
  const text = moment.toLocaleTimeString("en-GB", {
    hour: "2-digit",
    minute: "2-digit",
    ...(withSeconds ? { second: "2-digit" } : {}),
  });
  return moment.toDateString() === new Date(Date.now() + ahead).toDateString() ? text : `${day.format(moment)}, ${text}`;
}

export function keepTimesTrue() {
  refreshTimes();
  setInterval(() => document.hidden || refreshTimes(), INTERVAL);
}
