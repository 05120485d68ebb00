/**
 * The states of a link and what moves it between them, as data. `link.js` carries the effects out; docs/live.md draws
 * the machine.
 */

/**
 * - `idle`: nothing is at work; the page is hidden, or was left
 * - `connecting`: a socket was asked for and has said nothing yet
 * - `live`: the socket speaks, and nothing else is at work
 * - `retrying`: the socket was lost; another one will be tried soon
 * - `polling`: the attempts are used up; the link asks at intervals, and tries a socket now and then
 * - `gone`: the server says that what is watched does not exist; the link looks for it ever less often
 *
 * @typedef {"idle" | "connecting" | "live" | "retrying" | "polling" | "gone"} State
 */

/**
 * - `start`, `stop`, `suspect` (something else says that what is watched is missing), `readdress` (the socket's address
 *   has changed): from the page
 * - `message`, `closed`, `denied` (closed: what is watched is missing), `silent` (nothing was said for too long): from
 *   the socket
 * - `due` (time for the next socket), `look due` (time to look again): from timers
 * - `missing`, `back` (the first answer after failures): from the poller
 * - `present`, `absent`: the result of a look
 *
 * @typedef {"start" | "stop" | "suspect" | "readdress" | "message" | "closed" | "denied" | "silent" | "due" | "look due"
 *   | "missing" | "back" | "present" | "absent"} Event
 */

/**
 * @typedef {"was gone" | "attempts left" | "asking" | "opening"} Condition
 * @typedef {"openSocket" | "closeSocket" | "noteLive" | "noteGone" | "retryLater" | "retrySoon" | "askNow" | "askSoon"
 *   | "stopAsking" | "look" | "lookLater" | "rest" | "tell"} Effect
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
  row("idle", "start", "was gone", "gone", "look"),
  row("idle", "start", "attempts left", "connecting", "openSocket", "askSoon"),
  row("idle", "start", null, "polling", "openSocket", "askNow"),

  row("connecting", "message", null, "live", "stopAsking", "noteLive", "tell"),
  row("connecting", "closed", "attempts left", "retrying", "closeSocket", "retryLater", "askSoon", "tell"),
  row("connecting", "closed", null, "polling", "closeSocket", "retryLater", "askNow", "tell"),
  row("connecting", "denied", null, "retrying", "closeSocket", "look"),
  row("connecting", "readdress", null, "connecting", "openSocket", "askSoon"),
  row("connecting", "missing", null, "connecting", "stopAsking", "look"),
  row("connecting", "suspect", null, "connecting", "look"),
  row("connecting", "present", null, "connecting", "askSoon", "tell"),
  row("connecting", "absent", null, "gone", "rest", "noteGone", "lookLater"),
  row("connecting", "stop", null, "idle", "rest"),

  row("live", "message", null, "live", "tell"),
  row("live", "closed", "attempts left", "retrying", "closeSocket", "retryLater", "askSoon", "tell"),
  row("live", "closed", null, "polling", "closeSocket", "retryLater", "askNow", "tell"),
  row("live", "silent", "attempts left", "retrying", "closeSocket", "retryLater", "askNow", "tell"),
  row("live", "silent", null, "polling", "closeSocket", "retryLater", "askNow", "tell"),
  row("live", "denied", null, "retrying", "closeSocket", "look"),
  row("live", "readdress", null, "connecting", "openSocket", "askSoon"),
  row("live", "suspect", null, "live", "look"),
  row("live", "absent", null, "gone", "rest", "noteGone", "lookLater"),
  row("live", "stop", null, "idle", "rest"),

  row("retrying", "due", null, "connecting", "openSocket", "askSoon"),
  row("retrying", "readdress", "asking", "retrying"),
  row("retrying", "readdress", null, "connecting", "openSocket", "askSoon"),
  row("retrying", "missing", null, "retrying", "stopAsking", "look"),
  row("retrying", "suspect", null, "retrying", "look"),
  row("retrying", "present", "attempts left", "retrying", "retryLater", "askSoon", "tell"),
  row("retrying", "present", null, "polling", "retryLater", "askNow", "tell"),
  row("retrying", "absent", null, "gone", "rest", "noteGone", "lookLater"),
  row("retrying", "stop", null, "idle", "rest"),

  row("polling", "due", null, "polling", "openSocket"),
  row("polling", "message", null, "live", "stopAsking", "noteLive", "tell"),
  row("polling", "closed", null, "polling", "closeSocket", "retryLater", "askNow", "tell"),
  row("polling", "denied", null, "polling", "closeSocket", "look"),
  row("polling", "readdress", "opening", "polling", "openSocket"),
  row("polling", "back", "opening", "polling"),
  row("polling", "back", null, "polling", "retrySoon"),
  row("polling", "missing", null, "polling", "stopAsking", "look"),
  row("polling", "suspect", null, "polling", "look"),
  row("polling", "present", "opening", "polling", "askNow", "tell"),
  row("polling", "present", null, "polling", "retryLater", "askNow", "tell"),
  row("polling", "absent", null, "gone", "rest", "noteGone", "lookLater"),
  row("polling", "stop", null, "idle", "rest"),

  row("gone", "look due", null, "gone", "look"),
  row("gone", "suspect", null, "gone", "look"),
  row("gone", "absent", null, "gone", "lookLater"),
  row("gone", "present", "attempts left", "retrying", "retryLater", "askSoon", "tell"),
  row("gone", "present", null, "polling", "retryLater", "askNow", "tell"),
  row("gone", "stop", null, "idle", "rest"),
];

/**
 * @param {State} state @param {Event} event @param {(condition: Condition) => boolean} holds
 * @returns {Transition | undefined}
 */
export function findTransition(state, event, holds) {
  return TRANSITIONS.find(({ from, on, when }) => from === state && on === event && (!when || holds(when)));
}
