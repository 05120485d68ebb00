/**
 * The states of a link and what moves it between them, as data. `link.js` carries the effects out; docs/live.md draws
 * the machine.
 */

/**
 * - `idle`: nothing is at work; the page is hidden, or was left
 * - `connecting`: a socket was opened and has said nothing yet
 * - `live`: the socket speaks, and nothing else is at work
 * - `retrying`: the socket was lost; another one will be tried soon
 * - `polling`: the attempts are used up; the link polls, and tries a socket now and then
 * - `gone`: the server says that what is watched does not exist; the link looks for it ever less often
 *
 * @typedef {"idle" | "connecting" | "live" | "retrying" | "polling" | "gone"} State
 */

/**
 * - `start`, `stop`, `reported missing` (another request was answered that what is watched is missing), `readdress` (the socket's address
 *   has changed): from the page
 * - `message`, `closed`, `denied` (closed: what is watched is missing), `silent` (nothing was said for too long): from
 *   the socket
 * - `due` (time for the next socket), `check due` (time to check again whether what is gone is back): from timers
 * - `missing`, `back` (the first answer after failures): from the poller
 * - `present`, `absent`: the result of a check
 *
 * @typedef {"start" | "stop" | "reported missing" | "readdress" | "message" | "closed" | "denied" | "silent" | "due" | "check due"
 *   | "missing" | "back" | "present" | "absent"} Event
 */

/**
 * @typedef {"was gone" | "attempts left" | "is polling" | "opening"} Condition
 * @typedef {"openSocket" | "closeSocket" | "noteLive" | "noteGone" | "retryLater" | "retrySoon" | "pollNow" | "pollSoon"
 *   | "stopPolling" | "checkMissing" | "checkMissingLater" | "rest" | "showStatus"} Effect
 */

/**
 * @typedef {object} Transition
 * @property {State} from
 * @property {Event} on
 * @property {Condition | null} when
 * @property {State} to
 * @property {Effect[]} effects in order
 */

/** @type {State[]} */
export const STATES = ["idle", "connecting", "live", "retrying", "polling", "gone"];

/**
 * @param {State} from @param {Event} on @param {Condition | null} when @param {State} to @param {Effect[]} effects
 * @returns {Transition}
 */
const row = (from, on, when, to, ...effects) => ({ from, on, when, to, effects });

/** Of the rows of a state and an event, the first whose condition holds applies. An event without a row is ignored. */
export const TRANSITIONS = [
  row("idle", "start", "was gone", "gone", "checkMissing"),
  row("idle", "start", "attempts left", "connecting", "openSocket", "pollSoon"),
  row("idle", "start", null, "polling", "openSocket", "pollNow"),

  row("connecting", "message", null, "live", "stopPolling", "noteLive", "showStatus"),
  row("connecting", "closed", "attempts left", "retrying", "closeSocket", "retryLater", "pollSoon", "showStatus"),
  row("connecting", "closed", null, "polling", "closeSocket", "retryLater", "pollNow", "showStatus"),
  row("connecting", "denied", null, "retrying", "closeSocket", "checkMissing"),
  row("connecting", "readdress", null, "connecting", "openSocket", "pollSoon"),
  row("connecting", "missing", null, "connecting", "stopPolling", "checkMissing"),
  row("connecting", "reported missing", null, "connecting", "checkMissing"),
  row("connecting", "present", null, "connecting", "pollSoon", "showStatus"),
  row("connecting", "absent", null, "gone", "rest", "noteGone", "checkMissingLater"),
  row("connecting", "stop", null, "idle", "rest"),

  row("live", "message", null, "live", "showStatus"),
  row("live", "closed", "attempts left", "retrying", "closeSocket", "retryLater", "pollSoon", "showStatus"),
  row("live", "closed", null, "polling", "closeSocket", "retryLater", "pollNow", "showStatus"),
  row("live", "silent", "attempts left", "retrying", "closeSocket", "retryLater", "pollNow", "showStatus"),
  row("live", "silent", null, "polling", "closeSocket", "retryLater", "pollNow", "showStatus"),
  row("live", "denied", null, "retrying", "closeSocket", "checkMissing"),
  row("live", "readdress", null, "connecting", "openSocket", "pollSoon"),
  row("live", "reported missing", null, "live", "checkMissing"),
  row("live", "absent", null, "gone", "rest", "noteGone", "checkMissingLater"),
  row("live", "stop", null, "idle", "rest"),

  row("retrying", "due", null, "connecting", "openSocket", "pollSoon"),
  row("retrying", "readdress", "is polling", "retrying"),
  row("retrying", "readdress", null, "connecting", "openSocket", "pollSoon"),
  row("retrying", "missing", null, "retrying", "stopPolling", "checkMissing"),
  row("retrying", "reported missing", null, "retrying", "checkMissing"),
  row("retrying", "present", "attempts left", "retrying", "retryLater", "pollSoon", "showStatus"),
  row("retrying", "present", null, "polling", "retryLater", "pollNow", "showStatus"),
  row("retrying", "absent", null, "gone", "rest", "noteGone", "checkMissingLater"),
  row("retrying", "stop", null, "idle", "rest"),

  row("polling", "due", null, "polling", "openSocket"),
  row("polling", "message", null, "live", "stopPolling", "noteLive", "showStatus"),
  row("polling", "closed", null, "polling", "closeSocket", "retryLater", "pollNow", "showStatus"),
  row("polling", "denied", null, "polling", "closeSocket", "checkMissing"),
  row("polling", "readdress", "opening", "polling", "openSocket"),
  row("polling", "back", "opening", "polling"),
  row("polling", "back", null, "polling", "retrySoon"),
  row("polling", "missing", null, "polling", "stopPolling", "checkMissing"),
  row("polling", "reported missing", null, "polling", "checkMissing"),
  row("polling", "present", "opening", "polling", "pollNow", "showStatus"),
  row("polling", "present", null, "polling", "retryLater", "pollNow", "showStatus"),
  row("polling", "absent", null, "gone", "rest", "noteGone", "checkMissingLater"),
  row("polling", "stop", null, "idle", "rest"),

  row("gone", "check due", null, "gone", "checkMissing"),
  row("gone", "reported missing", null, "gone", "checkMissing"),
  row("gone", "absent", null, "gone", "checkMissingLater"),
  row("gone", "present", "attempts left", "retrying", "retryLater", "pollSoon", "showStatus"),
  row("gone", "present", null, "polling", "retryLater", "pollNow", "showStatus"),
  row("gone", "stop", null, "idle", "rest"),
];

/**
 * @param {State} state @param {Event} event @param {(condition: Condition) => boolean} holds
 * @returns {Transition | undefined}
 */
export function findTransition(state, event, holds) {
  return TRANSITIONS.find(({ from, on, when }) => from === state && on === event && (!when || holds(when)));
}
