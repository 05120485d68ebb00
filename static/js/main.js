/** The script of every page: starts what the other modules do, and follows the page that htmx has put in its place. */

import { announceStates } from "./announcements.js";
import { askAgainWhenBusy } from "./busy.js";
import { listenForChoices, restoreChoices } from "./choosing.js";
import { Connection } from "./connection.js";
import { listenForCopies, showCopyButtons } from "./copy.js";
import { byId } from "./dom.js";
import { forgetHeaderFailures, pollHeaderNow, watchHeader } from "./header.js";
import { listenForKeys } from "./keys.js";
import { continueMotion } from "./motion.js";
import { keepOrder } from "./order.js";
import { watchPresence } from "./presence.js";
import { hideAfterSignOut } from "./sign_out.js";
import { followSweeps } from "./sweep.js";
import { showInTab } from "./tab.js";
import { keepTimesTrue, refreshTimes } from "./times.js";
import { watchNotifications } from "./toasts.js";

/** @type {Connection | undefined} of the page that is shown, where it shows datasets */
let connection;

/** Connect what is on the page now. */
function follow() {
  const root = byId("live");
  if (connection?.root === root) return;
  connection?.stop();
  connection = root ? new Connection(root, forgetHeaderFailures) : undefined;
  if (!document.hidden) connection?.start({ isStale: false });
}

document.addEventListener("htmx:afterSwap", ({ target }) => {
  if (!(target instanceof Element)) return;
  continueMotion(target);
  announceStates(target, { isFirst: false });
  followSweeps();
  refreshTimes();
  showCopyButtons();
  restoreChoices();
  showInTab();
  follow();
  connection?.view.catchUp();
});

hideAfterSignOut();
keepOrder();
keepTimesTrue();
listenForCopies();
listenForChoices();
listenForKeys();
askAgainWhenBusy();
watchNotifications();
watchHeader(() => connection?.link.reportMissing());
watchPresence({
  leave: () => connection?.stop(),
  comeBack: () => {
    refreshTimes();
    forgetHeaderFailures();
    connection?.start({ isStale: true });
    pollHeaderNow();
  },
  onOffline: () => void connection?.link.verifyConnection(),
});

showCopyButtons();
announceStates(document, { isFirst: true });
continueMotion(document.documentElement);
follow();
