// Follows one session until it ends: chooses the transport, and decides when to reconnect and when to stop. Knows
// neither page nor element; the element, the live page and other people's code call it.

import { Api, ApiError, onlyNeeded } from "./api.js";
import { OPEN_MS, Pauses, SILENCE_MS } from "./pauses.js";
import { polling, sleep, sse, webSocket } from "./transports.js";

const TRANSPORTS = { websocket: webSocket, sse, polling };

/** How often the device's clock is checked, and the jump from which on the device has slept. */
const CLOCK_EVERY_MS = 1_000;
const CLOCK_JUMP_MS = 4_000;
/** A device that wakes up fires several events at once; only the first one counts. */
const ONE_WAKING_MS = 1_000;
/** A token is renewed when this part of its life is over. */
const RENEW_AT = 0.6;
/** But not sooner than this, if tokens are valid for seconds only. */
const RENEW_AFTER_MS = 1_000;
/** The pause after a renewal that failed and may succeed later. */
const RENEW_AGAIN_MS = 5_000;
/** Not later than this while only the device's own clock is known, which may be wrong: that is polling without a QR. */
const RENEW_BLINDLY_MS = 60_000;

/**
 * Follows a session. Events come once each, in order, whatever happens to the connection.
 *
 * Options, all of them optional:
 * - `baseUrl`: where the server is; by default where this script came from. Needed in Node.
 * - `token`: a stream token, or a function (it may be async) that fetches one. It is called again when its token is no
 *   longer taken, and after whatever it throws, but for an `ApiError` that is final: that ends it.
 * - `onEvent({ id, event, data })`: something happened to the session.
 * - `onState({ phase, transport, status?, error?, retryInMs? })`: how the connection is. `phase` is `connecting`,
 *   `open` (with the stream's opening frame as `status`), `waiting` (comes back in `retryInMs`), and in the end one of
 *   `ended` (the session has ended), `failed` (refused for good: `error` has `status` and `code`) or `closed` (by you).
 * - `onToken({ token, expiresAt })`: the server gave a newer token, which is used from now on. To keep it for a reload.
 * - `lastEventId`: the cursor to resume from.
 * - `transports`: which, in which order; `["websocket", "sse", "polling"]`.
 * - `WebSocket`, `fetch`: to use instead of the global ones.
 * - `pollMs` (2000), `openMs` (10000), `silenceMs` (45000), `pollForMs` (300000).
 *
 * Returns `close()`, `now()` (the server's time in milliseconds), `lastEventId`, and for the event `passkey`
 * `answerPasskey(credential)` (a browser's PublicKeyCredential, or its JSON) and `confirmPasskey()`, which throw ApiError.
 */
export function subscribe(sessionId, options = {}) {
  const follower = new Follower(sessionId, options);
  follower.run();
  return {
    close: () => follower.close(),
    now: () => Date.now() + follower.clockOffset,
    answerPasskey: (credential) => follower.passkey("passkey", { credential: onlyNeeded(credential) }),
    confirmPasskey: () => follower.passkey("passkey/confirm"),
    get lastEventId() {
      return follower.cursor;
    },
  };
}

class Follower {
  cursor;
  clockOffset = 0;
  #knowsClock = false;
  #options;
  #sessionId;
  #api;
  #transports;
  #stop = new AbortController();
  /** Ends the current pause or connection early. */
  #attempt = new AbortController();
  /** Whether it was ended early, until the next connection. */
  #hurries = false;
  #hurriedAt = -Infinity;
  /** When the device's clock was last checked. */
  #seen;
  #pauses = new Pauses();
  #unopened = 0;
  #everOpened = new Set();
  #renewal;
  /** When the last token from the server expires. */
  #tokenEnds;
  #ended = false;

  constructor(sessionId, options) {
    this.#sessionId = sessionId;
    this.#options = options;
    this.#api = options.api ?? new Api(options);
    this.#transports = options.transports ?? Object.keys(TRANSPORTS);
    this.cursor = options.lastEventId || undefined;
  }

  close() {
    this.#finish("closed");
  }

  /** The result comes as an event. */
  async passkey(call, body) {
    await this.#api.call("POST", `/api/sessions/${encodeURIComponent(this.#sessionId)}/${call}`, body);
  }

  async run() {
    this.#watchTheDevice();
    // The caller gets the handle before the first callback.
    await Promise.resolve();
    let index = 0;
    while (!this.#stop.signal.aborted) {
      const transport = this.#transports[index];
      const outcome = await this.#connect(transport);
      if (this.#stop.signal.aborted) return;
      const next = await this.#afterwards(outcome, transport);
      if (this.#stop.signal.aborted) return;
      // Polling is a fallback: after a while the streams are tried again.
      if (next === "fall" && index + 1 < this.#transports.length) index += 1;
      else if (transport === "polling" && outcome.retryAfterMs === 0) index = 0;
      else if (!this.#hurries) await this.#pause(outcome, transport);
    }
  }

  /** A network that comes back, a page that is seen again and a device that wakes up leave connections behind that are
   *  dead without knowing. */
  #watchTheDevice() {
    const { signal } = this.#stop;
    const hurry = () => this.#hurry();
    const { document } = globalThis;
    globalThis.addEventListener?.("online", hurry, { signal });
    // The page comes out of the browser's page cache. The event also fires for every page that loads.
    globalThis.addEventListener?.("pageshow", ({ persisted }) => persisted && hurry(), { signal });
    document?.addEventListener("visibilitychange", () => document.hidden || hurry(), { signal });
    document?.addEventListener("resume", hurry, { signal });
    this.#seen = Date.now();
    const timer = setInterval(() => {
      const jump = Date.now() - this.#seen - CLOCK_EVERY_MS;
      this.#seen = Date.now();
      // Timers of a hidden page are slow, so it reconnects when it is shown again.
      if (Math.abs(jump) > CLOCK_JUMP_MS && !document?.hidden) hurry();
    }, CLOCK_EVERY_MS);
    timer.unref?.();
    signal.addEventListener("abort", () => clearInterval(timer));
  }

  async #connect(transport) {
    this.#attempt = new AbortController();
    this.#hurries = false;
    this.#tell({ phase: "connecting", transport });
    const began = Date.now();
    const connection = TRANSPORTS[transport]({
      api: this.#api,
      sessionId: this.#sessionId,
      path: `/api/sessions/${encodeURIComponent(this.#sessionId)}`,
      cursor: () => this.cursor,
      onFrame: (frame) => this.#hear(frame, transport),
      signal: this.#attempt.signal,
      WebSocket: "WebSocket" in this.#options ? this.#options.WebSocket : globalThis.WebSocket,
      openMs: this.#options.openMs ?? OPEN_MS,
      silenceMs: this.#options.silenceMs ?? SILENCE_MS,
      pollMs: this.#options.pollMs ?? 2_000,
      pollForMs: this.#options.pollForMs ?? 300_000,
    });
    // The error comes from the page's own `token` function, which may succeed the next time.
    const outcome = await connection.catch((error) => ({ how: isFinal(error) ? "stop" : "again", opened: false, error }));
    if (outcome.opened) {
      this.#everOpened.add(transport);
      this.#unopened = 0;
      this.#pauses.opened(Date.now() - began);
    }
    return outcome;
  }

  /** What to do after a connection: `again` with the same transport, `fall` to the next one, or end. */
  async #afterwards(outcome, transport) {
    // Over SSE an end has no reason: only the last event shows that it is final.
    const how = this.#ended ? "ended" : outcome.how;
    switch (how) {
      case "ended":
        return this.#finish("ended");
      case "stop":
        return this.#finish("failed", outcome.error);
      case "expired":
        if (await this.#freshToken(outcome.token, outcome.error)) {
          // The pause that the server asks for is meant for an EventSource, which returns with the same token.
          outcome.retryAfterMs = undefined;
          this.#tokenEnds = undefined;
          return "again";
        }
        return this.#finish("failed", outcome.error);
      case "unopened":
        return this.#whyUnopened(outcome, transport);
      default:
        return "again";
    }
  }

  /** A browser hides why a connection did not open, so the server is asked by plain HTTP. */
  async #whyUnopened(outcome, transport) {
    const path = `/api/session-status/${encodeURIComponent(this.#sessionId)}`;
    try {
      await this.#api.call("GET", path, undefined, { signal: this.#attempt.signal });
      // The token was the reason: the request succeeded with another one.
      if ((await this.#api.token.get()) !== outcome.token) return "again";
    } catch (error) {
      if (isFinal(error)) this.#finish("failed", error);
      outcome.retryAfterMs = error.retryAfterMs;
      return "again";
    }
    // The server answers and only this transport fails. A transport that has worked before is kept, because the server
    // may have come back between the two tries.
    this.#unopened += 1;
    return this.#everOpened.has(transport) && this.#unopened < 2 ? "again" : "fall";
  }

  async #freshToken(used, error) {
    try {
      return await this.#api.token.another(used, error);
    } catch {
      // The page could not fetch a token; it is asked again at the next try.
      return true;
    }
  }

  async #pause({ retryAfterMs }, transport) {
    const pause = this.#pauses.next(retryAfterMs);
    this.#tell({ phase: "waiting", transport, retryInMs: pause });
    this.#attempt = new AbortController();
    await sleep(pause, this.#attempt.signal);
  }

  /** Connects now, even if a connection exists. With the cursor that costs almost nothing. */
  #hurry() {
    this.#seen = Date.now();
    if (Math.abs(this.#seen - this.#hurriedAt) < ONE_WAKING_MS) return;
    this.#hurriedAt = this.#seen;
    this.#hurries = true;
    this.#pauses.beginAnew();
    this.#attempt.abort();
  }

  #hear(frame, transport) {
    if (this.#stop.signal.aborted) return;
    const { id, event, data } = frame;
    if (id === undefined) {
      if (event === "status") this.#open(data, transport);
      return;
    }
    if (this.cursor !== undefined && !isAfter(id, this.cursor)) return;
    this.cursor = id;
    this.#ended = event === "disconnected" && !data.willReconnect && data.reason !== "qr_exhausted";
    this.#hand(this.#options.onEvent, { id, event, data });
  }

  #open(status, transport) {
    const now = Date.parse(status.now);
    if (!Number.isNaN(now)) {
      this.clockOffset = now - Date.now();
      this.#knowsClock = true;
    }
    // A restart may have revived an ended session.
    if (status.status === "initializing") this.#ended = false;
    this.#tell({ phase: "open", transport, status });
    this.#renewInTime();
  }

  /** An open stream shows that its token is valid, so the server will renew it. */
  async #renewInTime() {
    if (!this.#api.token.isGiven || this.#renewal !== undefined) return;
    this.#renewal = null;
    const pause = await this.#renew();
    this.#renewal = undefined;
    if (pause === undefined || this.#stop.signal.aborted) return;
    this.#renewal = setTimeout(() => {
      this.#renewal = undefined;
      this.#renewInTime();
    }, pause);
    this.#renewal.unref?.();
  }

  /** When to fetch the next token; `undefined` if asking is useless until a stream opens. */
  async #renew() {
    const path = `/api/sessions/${encodeURIComponent(this.#sessionId)}/stream-token`;
    try {
      const answer = await this.#api.call("POST", path, {}, { signal: this.#stop.signal });
      if (this.#stop.signal.aborted) return undefined;
      const { streamToken: token, streamTokenExpiresAt: expiresAt } = answer;
      this.#api.token.replace(token);
      this.#hand(this.#options.onToken, { token, expiresAt });
      const ends = Date.parse(expiresAt);
      // The first token cannot be renewed any further.
      const isLast = this.#tokenEnds !== undefined && ends <= this.#tokenEnds;
      this.#tokenEnds = ends;
      if (isLast) return undefined;
      const part = Math.max(0, ends - Date.now() - this.clockOffset) * RENEW_AT;
      const pause = this.#knowsClock ? part : Math.min(part || RENEW_BLINDLY_MS, RENEW_BLINDLY_MS);
      return Math.max(pause, RENEW_AFTER_MS);
    } catch (error) {
      return error instanceof ApiError && !error.isFinal ? (error.retryAfterMs ?? RENEW_AGAIN_MS) : undefined;
    }
  }

  #finish(phase, error) {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    this.#attempt.abort();
    clearTimeout(this.#renewal ?? undefined);
    this.#tell({ phase, ...(error && { error }) });
  }

  #tell(state) {
    this.#hand(this.#options.onState, state);
  }

  /** An error in the page's own function is reported to the page and does not end the stream. */
  #hand(listener, value) {
    try {
      listener?.(value);
    } catch (error) {
      if (globalThis.reportError) reportError(error);
      else console.error(error);
    }
  }
}

/** Whether the server's answer means that a retry can never help. */
function isFinal(error) {
  return error instanceof ApiError && error.isFinal;
}

/** Whether one event id, `<epoch>-<seq>`, is later than another. The numbers are small enough for a Number. */
export function isAfter(id, other) {
  const [epoch, seq] = id.split("-").map(Number);
  const [otherEpoch, otherSeq] = other.split("-").map(Number);
  return epoch === otherEpoch ? seq > otherSeq : epoch > otherEpoch;
}
