// The key of this tab, and the calls that are made with it. Called by every other file of the dashboard.

import { ApiError } from "../qrcast.js";

/** A server without keys asks for none. Then an `Authorization` that a proxy in front of it needs is not overwritten. */
export const OPEN = document.documentElement.hasAttribute("data-open");

/** The live page keeps its key under the same name: a tab that has it there has it here. */
const NAME = "qrcast-key";
const PATIENCE_MS = 30_000;

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

/** An answer that is a success; throws ApiError. A key that is no longer taken is told to the page as `key-lost`. */
export async function request(method, path, { body, secret = key.value, ...options } = {}) {
  const headers = { ...options.headers };
  if (secret) headers.Authorization = `Bearer ${secret}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(new URL(`..${path}`, import.meta.url), {
      ...options, method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError({ status: 0, code: "UNREACHABLE", message: String(error?.message ?? error) });
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get("Retry-After"));
  if (response.status === 401 && secret === key.value && !OPEN) dispatchEvent(new Event("key-lost"));
  throw new ApiError({
    status: response.status, code: answer.code ?? "UNKNOWN", message: answer.error ?? `HTTP ${response.status}`,
    details: answer, retryAfterMs: seconds > 0 ? seconds * 1000 : undefined,
  });
}

/** The JSON of an answer, `null` for one without a body. */
export async function call(method, path, body, options) {
  const response = await request(method, path, { body, signal: AbortSignal.timeout(PATIENCE_MS), ...options });
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/** The path of a session's call. */
export function of(session, rest = "") {
  return `/api/sessions/${encodeURIComponent(session)}${rest}`;
}
