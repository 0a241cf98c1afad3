// The calls that the dashboard makes, with the key of this tab. Called by every other file of the dashboard.

import { key, OPEN } from "../key.js";
import { Api } from "../qrcast/api.js";

/** What `Api.call` answers. `secret` is a key that is being tried. */
export async function call(method, path, body, { secret = key.value, ...options } = {}) {
  try {
    return await new Api({ token: secret }).call(method, path, body, options);
  } catch (error) {
    if (error.status === 401 && secret === key.value) lost();
    throw error;
  }
}

/** The server no longer takes the key of this tab: the page asks for another one. */
export function lost() {
  if (!OPEN) dispatchEvent(new Event("key-lost"));
}

/** The path of a session's call. */
export function of(session, rest = "") {
  return `/api/sessions/${encodeURIComponent(session)}${rest}`;
}
