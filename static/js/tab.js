/** Keeps the title and the icon of the browser's tab as far as the dataset of the page is. */

import { byId } from "./dom.js";

// What the page's own title is: what stands before it is the server's.
const title = document.title.slice(byId("progress-header")?.dataset.title?.length ?? 0);

export function showInTab() {
  const header = byId("progress-header");
  const icon = byId("icon");
  if (!header || !(icon instanceof HTMLLinkElement)) return;
  const { title: prefix = "", icon: address = icon.href } = header.dataset;
  if (document.title !== prefix + title) document.title = prefix + title;
  if (icon.getAttribute("href") !== address) icon.href = address;
}
