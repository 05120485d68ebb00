/** Finds elements, in the page and in what the server answers. */

/** @type {any} htmx is a script of its own, without types */
export const htmx = /** @type {any} */ (window).htmx;

/** How a fragment replaces its element without a delay. */
export const AT_ONCE = { swapStyle: "outerHTML", swapDelay: 0, settleDelay: 0 };

/** @param {string} id @returns {HTMLElement | null} */
export const byId = (id) => document.getElementById(id);

/** @param {string} html @returns {Document} an answer */
export const parse = (html) => new DOMParser().parseFromString(html, "text/html");

/** @param {string} html @param {string} id @returns {HTMLElement | null} the element of that id in an answer */
export const findIn = (html, id) => parse(html).getElementById(id);

/** Remove what the last action was answered with: what it said is no longer so. */
export const forgetMessages = () => byId("messages")?.remove();
