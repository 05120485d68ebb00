/** Keeps what was private from the Back button: a browser may have kept the pages of before the user signed out. */

const KEY = "signed-out-at";

export function hideAfterSignOut() {
  const loadedAt = Date.now();

  document.addEventListener("submit", ({ target }) => {
    if (target instanceof HTMLFormElement && target.id === "sign-out") localStorage.setItem(KEY, String(Date.now()));
  });
  window.addEventListener("pageshow", ({ persisted }) => {
    if (!persisted || Number(localStorage.getItem(KEY)) < loadedAt) return;
    document.documentElement.hidden = true;
    location.reload();
  });
}
