// REST calls and their token. Not a stream: that is transports.js. Called by subscribe.js, link.js, the live page and
// the dashboard.

/** A refusal of the server, or no answer at all (`status` 0, `code` `UNREACHABLE`). */
export class ApiError extends Error {
  constructor({ status, code, message, details, retryAfterMs, cause }) {
    super(message, { cause });
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.details = details;
    /** How long to wait before the next try, in milliseconds, if the server said so. */
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether a retry can never help. */
  get isFinal() {
    return [400, 401, 403, 404, 410].includes(this.status);
  }
}

/** A call waits no longer than this for its answer. A pairing code may take 20 s. */
const PATIENCE_MS = 30_000;

/** One server, used with one token. */
export class Api {
  constructor({ baseUrl, token, fetch: fetcher } = {}) {
    this.baseUrl = baseUrl === undefined ? whereThisFileIsFrom() : String(baseUrl).replace(/\/+$/, "");
    this.token = token instanceof Token ? token : new Token(token);
    // Wrapped in a function, because a browser's fetch needs `window` as its `this`.
    this.fetch = (...args) => (fetcher ?? globalThis.fetch)(...args);
  }

  url(path) {
    return this.baseUrl + path;
  }

  /** `base` as `ws:` or `wss:`. */
  webSocketUrl(path) {
    const url = new URL(this.url(path), globalThis.location?.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    return url.href;
  }

  /** The JSON of an answer, or what `parse` makes of its text, and `null` for one without a body; throws ApiError. Comes again once
   *  with a newer token. */
  async call(method, path, body, { signal, parse = JSON.parse } = {}) {
    const token = await this.token.get();
    try {
      return await this.#callOnce(method, path, body, token, signal, parse);
    } catch (error) {
      if (!(await this.token.another(token, error))) throw error;
      return this.#callOnce(method, path, body, await this.token.get(), signal, parse);
    }
  }

  async #callOnce(method, path, body, token, signal, parse) {
    const headers = bearer(token);
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const limit = AbortSignal.timeout(PATIENCE_MS);
    let response;
    try {
      response = await this.fetch(this.url(path), {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: signal ? either(signal, limit) : limit,
        cache: "no-store",
      });
      if (response.ok) {
        const text = await response.text();
        return text ? parse(text) : null;
      }
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError({ status: 0, code: "UNREACHABLE", message: String(error?.message ?? error), cause: error });
    }
    throw await refusal(response);
  }
}

/** The header with which a token travels. A WebSocket cannot send one: see transports.js. */
export function bearer(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** A credential of a browser, or its JSON, with exactly the fields that WhatsApp is sent. */
export function onlyNeeded(credential) {
  const { id, rawId, type, response } = typeof credential?.toJSON === "function" ? credential.toJSON() : Object(credential);
  const { clientDataJSON, authenticatorData, signature, userHandle } = Object(response);
  return { id, rawId, type, response: { clientDataJSON, authenticatorData, signature, userHandle: userHandle ?? null } };
}

/** The error in a response that is not a success. */
export async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  const seconds = Number(response.headers.get("Retry-After"));
  return new ApiError({
    status: response.status,
    code: body.code ?? "UNKNOWN",
    message: body.error ?? `HTTP ${response.status}`,
    details: body.details,
    retryAfterMs: seconds > 0 ? seconds * 1000 : undefined,
  });
}

/** A stream token: a string, a function that fetches one, or nothing on an open server. */
export class Token {
  #source;
  #current;
  #fetching;
  /** Whether the token was fetched because the server refused an earlier one. */
  #secondTry;

  constructor(source) {
    this.#source = source || undefined;
    this.#current = typeof source === "string" ? source : undefined;
  }

  /** The token to use now; asks the page's function if there is none. */
  async get() {
    if (this.#current === undefined && typeof this.#source === "function") {
      // Two calls at the same time share one request.
      this.#fetching ??= Promise.resolve(this.#source()).finally(() => (this.#fetching = undefined));
      this.#current = (await this.#fetching) || undefined;
    }
    return this.#current;
  }

  /** Notes that the server refused this token, with the reason. Returns whether there is another one to try. */
  async another(used, { code }) {
    if (code !== "TOKEN_EXPIRED" && code !== "UNAUTHORIZED") return false;
    // The token was renewed meanwhile: a stream ends with the token with which it was opened.
    if (this.#current !== undefined && this.#current !== used) return true;
    if (code === "UNAUTHORIZED") return this.#askAgain(used);
    // The token that the page gave may be valid for longer than the one that the server made from it, so it is tried
    // again after a page has slept.
    if (typeof this.#source === "string" && used !== this.#source) {
      this.#current = this.#source;
      return true;
    }
    return this.#ask();
  }

  /** Only once: the server's secret may have changed, but a new token that it refuses as well was not issued by it. */
  async #askAgain(used) {
    if (used !== undefined && used === this.#secondTry) return false;
    if (!(await this.#ask())) return false;
    this.#secondTry = this.#current;
    return true;
  }

  async #ask() {
    if (typeof this.#source !== "function") return false;
    this.#current = undefined;
    return (await this.get()) !== undefined;
  }

  /** Takes a newer token from the server. */
  replace(token) {
    this.#current = token;
  }

  get isGiven() {
    return this.#source !== undefined;
  }
}

/** Aborted as soon as one of them is. (`AbortSignal.any` is younger than the browsers we serve.) */
function either(...signals) {
  const joint = new AbortController();
  for (const signal of signals) {
    if (signal.aborted) joint.abort(signal.reason);
    signal.addEventListener("abort", () => joint.abort(signal.reason), { once: true, signal: joint.signal });
  }
  return joint.signal;
}

/** An embedded element talks to the server that its script came from. In Node that is a file: say `baseUrl` there. */
function whereThisFileIsFrom() {
  // In two steps, for bundlers take `new URL("…", import.meta.url)` for a file that they should bring along.
  const here = import.meta.url;
  const { protocol, href } = new URL("..", here);
  if (protocol === "file:") throw new TypeError("baseUrl is needed: this module was not loaded from a server");
  return href.replace(/\/+$/, "");
}
