// The API key of this tab: kept until the tab is closed, and shared by the live page and the dashboard. Called by live.js and
// by the dashboard (admin/).

/** A server without keys asks for none. Then an `Authorization` that a proxy in front of it needs is not overwritten. */
export const OPEN = document.documentElement.hasAttribute("data-open");

const NAME = "qrcast-key";

/** A frame in another site may have no storage; then the key is kept as long as the page. */
export const key = {
  get value() {
    try {
      return sessionStorage.getItem(NAME) ?? undefined;
    } catch {
      return this.held;
    }
  },
  set value(value) {
    this.held = value;
    try {
      if (value) sessionStorage.setItem(NAME, value);
      else sessionStorage.removeItem(NAME);
    } catch {
      // The key is kept in memory.
    }
  },
};
