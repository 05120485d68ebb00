/** Tells the user on any open page what they want to be told, and by the browser while the page is hidden. */

import { byId } from "./dom.js";

const INTERVAL = 5_000;
const LASTS = 15_000;
const MOST = 6; // at once: five messages, of more the server makes a digest, and a test

/** @typedef {{ key: string, title: string, text: string, link: string }} Notice */
/** @typedef {{ active: boolean, last: number, notices: Notice[] }} Answer */

export function watchNotifications() {
  const list = byId("toasts");
  if (list) void follow(list, list.dataset.recent ?? "");
  const button = byId("ask-browser");
  if (!button || !("Notification" in window)) return;
  button.hidden = Notification.permission !== "default";
  // The browser asks on a click alone.
  button.addEventListener("click", async () => {
    await Notification.requestPermission();
    button.hidden = true;
  });
}

/** Ask again and again. Ends where the user wants to be told nothing, or is signed out. @param {HTMLElement} list @param {string} address */
async function follow(list, address) {
  let after = "";
  for (;;) {
    const answer = await ask(`${address}${after}`);
    if (answer === null) return;
    if (answer) {
      if (!answer.active) return;
      after = `?after=${answer.last}`;
      for (const notice of answer.notices.slice(-MOST)) show(list, notice);
    }
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
  }
}

/** @param {string} address @returns {Promise<Answer | null | undefined>} null: never again; undefined: not now */
async function ask(address) {
  try {
    const response = await fetch(address, { redirect: "manual", headers: { Accept: "application/json" } });
    if (response.ok) return await response.json();
    return response.status >= 500 || response.status === 429 ? undefined : null;
  } catch {
    return undefined;
  }
}

/** @param {HTMLElement} list @param {Notice} notice */
function show(list, { key, title, text, link }) {
  const item = document.createElement("li");
  item.className = "toast";
  const heading = document.createElement(link ? "a" : "strong");
  heading.textContent = title;
  if (link) heading.setAttribute("href", link);
  const body = document.createElement("p");
  body.textContent = text;
  item.append(heading, body);
  list.append(item);
  while (list.children.length > MOST) list.firstElementChild?.remove();
  setTimeout(() => item.remove(), LASTS);
  if (!document.hidden || !("Notification" in window) || Notification.permission !== "granted") return;
  // Of several open pages, the tag lets one notification stand.
  const shown = new Notification(title, { body: text, tag: key });
  shown.addEventListener("click", () => {
    window.focus();
    if (link) location.assign(link);
  });
}
