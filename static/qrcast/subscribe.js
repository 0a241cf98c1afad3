// Follows one session for as long as it lives: which transport, when to come back, when to stop. Knows no page and no
// element; the element, the live page and other people's code call it.

import { Api, ApiError } from "./api.js";
import { onlyNeeded } from "./passkey.js";
import { polling, sleep, sse, webSocket } from "./transports.js";

const TRANSPORTS = { websocket: webSocket, sse, polling };

/** Pauses between tries: 0.5 s, 1 s, 2 s … 30 s, each shortened by up to half so that viewers don't return in a wave. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** A connection that lived this long was a good one: the pauses begin anew. */
const GOOD_CONNECTION_MS = 5_000;
/** How often the device's clock is looked at, and by how much it must be off to say that the device has slept. */
const CLOCK_EVERY_MS = 1_000;
const CLOCK_JUMP_MS = 4_000;
/** A device that wakes up says so in several ways at once: the first one counts. */
const ONE_WAKING_MS = 1_000;
/** A token is renewed when this part of its life is over. */
const RENEW_AT = 0.6;
/** But not sooner than this, where tokens are good for seconds. */
const RENEW_AFTER_MS = 1_000;
/** And when that failed and may yet succeed, after this. */
const RENEW_AGAIN_MS = 5_000;
/** Nor later than this where only the device's own clock is known, which may be wrong: polling without a QR. */
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
  /** Cuts the pause or the connection of this moment short. */
  #attempt = new AbortController();
  /** Set when that happened, until the next connection. */
  #hurries = false;
  #hurriedAt = -Infinity;
  /** When the device's clock was last looked at. */
  #seen;
  #failures = 0;
  #unopened = 0;
  #everOpened = new Set();
  #renewal;
  /** When the last token that the server gave ends. */
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

  /** What follows comes as an event. */
  async passkey(call, body) {
    await this.#api.call("POST", `/api/sessions/${encodeURIComponent(this.#sessionId)}/${call}`, body);
  }

  async run() {
    this.#watchTheDevice();
    // The caller has his handle before he hears anything.
    await Promise.resolve();
    let index = 0;
    while (!this.#stop.signal.aborted) {
      const transport = this.#transports[index];
      const outcome = await this.#connect(transport);
      if (this.#stop.signal.aborted) return;
      const next = await this.#afterwards(outcome, transport);
      if (this.#stop.signal.aborted) return;
      // Polling is a stop-gap: when its time is up, the streams get another chance.
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
    // Out of the browser's cache of pages. Every page that loads has one, too.
    globalThis.addEventListener?.("pageshow", ({ persisted }) => persisted && hurry(), { signal });
    document?.addEventListener("visibilitychange", () => document.hidden || hurry(), { signal });
    document?.addEventListener("resume", hurry, { signal });
    this.#seen = Date.now();
    const timer = setInterval(() => {
      const jump = Date.now() - this.#seen - CLOCK_EVERY_MS;
      this.#seen = Date.now();
      // Timers of a page that is out of sight are slow. It is connected anew when it is seen again.
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
      openMs: this.#options.openMs ?? 10_000,
      silenceMs: this.#options.silenceMs ?? 45_000,
      pollMs: this.#options.pollMs ?? 2_000,
      pollForMs: this.#options.pollForMs ?? 300_000,
    });
    // What is thrown comes from the page's own `token` function, which may have better luck the next time.
    const outcome = await connection.catch((error) => ({ how: isFinal(error) ? "stop" : "again", opened: false, error }));
    if (outcome.opened) {
      this.#everOpened.add(transport);
      this.#unopened = 0;
      if (Date.now() - began > GOOD_CONNECTION_MS) this.#failures = 0;
    }
    return outcome;
  }

  /** What to do after a connection: `again` with the same transport, or `fall` to the next. Or it was the last. */
  async #afterwards(outcome, transport) {
    // Over SSE the end is just an end: the last event says that it was one for good.
    const how = this.#ended ? "ended" : outcome.how;
    switch (how) {
      case "ended":
        return this.#finish("ended");
      case "stop":
        return this.#finish("failed", outcome.error);
      case "expired":
        if (await this.#freshToken(outcome.token, outcome.error)) {
          // What the server asks for is meant for an EventSource, which returns with the same token.
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

  /** A browser hides why a connection did not open. The same server, asked in plain HTTP, knows. */
  async #whyUnopened(outcome, transport) {
    const path = `/api/session-status/${encodeURIComponent(this.#sessionId)}`;
    try {
      await this.#api.call("GET", path, undefined, { signal: this.#attempt.signal });
      // It was the token, and the question was let in with another one.
      if ((await this.#api.token.get()) !== outcome.token) return "again";
    } catch (error) {
      if (isFinal(error)) this.#finish("failed", error);
      outcome.retryAfterMs = error.retryAfterMs;
      return "again";
    }
    // The server is there and only this transport is not. One that has worked before gets the benefit of a doubt: the
    // server may have come back between the two questions.
    this.#unopened += 1;
    return this.#everOpened.has(transport) && this.#unopened < 2 ? "again" : "fall";
  }

  async #freshToken(used, error) {
    try {
      return await this.#api.token.another(used, error);
    } catch {
      // The page could not reach whoever gives it tokens: asked again at the next try.
      return true;
    }
  }

  async #pause({ retryAfterMs }, transport) {
    const backOff = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures);
    this.#failures += 1;
    // What the server asks for is the least; the jitter comes on top of it.
    const pause =
      retryAfterMs === undefined
        ? backOff * (0.5 + Math.random() / 2)
        : retryAfterMs + Math.random() * Math.min(retryAfterMs, backOff);
    this.#tell({ phase: "waiting", transport, retryInMs: Math.round(pause) });
    this.#attempt = new AbortController();
    await sleep(pause, this.#attempt.signal);
  }

  /** Connects now, whatever was going on. With the cursor that costs next to nothing. */
  #hurry() {
    this.#seen = Date.now();
    if (Math.abs(this.#seen - this.#hurriedAt) < ONE_WAKING_MS) return;
    this.#hurriedAt = this.#seen;
    this.#hurries = true;
    this.#failures = 0;
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
    // A restart may have revived what had ended.
    if (status.status === "initializing") this.#ended = false;
    this.#tell({ phase: "open", transport, status });
    this.#renewInTime();
  }

  /** Once a stream is open its token was good, which is when the server gives the next one. */
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

  /** How long the new token can wait for the next one; `undefined` when there is no use in asking, until a stream opens. */
  async #renew() {
    const path = `/api/sessions/${encodeURIComponent(this.#sessionId)}/stream-token`;
    try {
      const answer = await this.#api.call("POST", path, {}, { signal: this.#stop.signal });
      if (this.#stop.signal.aborted) return undefined;
      const { streamToken: token, streamTokenExpiresAt: expiresAt } = answer;
      this.#api.token.replace(token);
      this.#hand(this.#options.onToken, { token, expiresAt });
      const ends = Date.parse(expiresAt);
      // All that can be had of the first one is used up.
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

  /** A mistake in the page's own function is the page's to see, and no reason to lose the stream. */
  #hand(listener, value) {
    try {
      listener?.(value);
    } catch (error) {
      if (globalThis.reportError) reportError(error);
      else console.error(error);
    }
  }
}

/** Whether the server has said that asking again can never help. */
function isFinal(error) {
  return error instanceof ApiError && error.isFinal;
}

/** Whether one event id, `<epoch>-<seq>`, is later than another. The numbers are small enough for a Number. */
export function isAfter(id, other) {
  const [epoch, seq] = id.split("-").map(Number);
  const [otherEpoch, otherSeq] = other.split("-").map(Number);
  return epoch === otherEpoch ? seq > otherSeq : epoch > otherEpoch;
}
