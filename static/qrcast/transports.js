// The three ways to follow a session. Each runs one connection to its end and reports how it ended; subscribe.js
// decides what that means. Each takes a `line`:
//   { api, path, cursor(), onFrame(frame), signal, WebSocket, openMs, silenceMs, pollMs, pollForMs }
// and resolves with { how, opened, token?, retryAfterMs?, error? }, `token` being the one it was opened with and `how` one of
//   "ended"     the session has ended: nothing more will come
//   "stop"      refused for good, `error` says why
//   "expired"   the token is no longer taken, or not known: `error` says which
//   "again"     come back, after `retryAfterMs` when it is given
//   "unopened"  it never opened, and a browser will not say why
// The dashboard's feed is read by `sse`, too. No frame opens it, so its line has `onOpen()`.

import { bearer, refusal } from "./api.js";

const PROTOCOL = "qrcast.v1";

/** The close codes of the protocol; any other is a broken connection. */
const AFTER_CLOSE = { 1000: "ended", 1009: "stop", 4401: "expired" };

/** The error of a stream that ended with its token. */
const EXPIRED = { status: 401, code: "TOKEN_EXPIRED", message: "the token has expired" };

/** WebSocket: one text frame an event. */
export async function webSocket(line) {
  const { api, signal } = line;
  const Socket = line.WebSocket;
  if (!Socket) return { how: "unopened", opened: false };
  const token = await api.token.get();
  if (signal.aborted) return { how: "again", opened: false };
  return new Promise((resolve) => {
    let opened = false;
    let drain = {};
    let socket;
    try {
      const protocols = token ? [PROTOCOL, `bearer.${token}`] : [PROTOCOL];
      socket = new Socket(api.webSocketUrl(withCursor(`${line.path}/ws`, line.cursor())), protocols);
    } catch {
      // The page's security policy may forbid it.
      return resolve({ how: "unopened", opened });
    }
    let isOver = false;
    const done = (outcome) => {
      isOver = true;
      clearTimeout(watchdog);
      signal.removeEventListener("abort", hangUp);
      resolve({ opened, token, ...outcome });
    };
    const hangUp = () => {
      done({ how: "again" });
      socket.close();
    };
    const giveUp = () => {
      done({ how: opened ? "again" : "unopened" });
      socket.close();
    };
    // Some proxies drop an upgrade silently. Later the path may break without either end noticing: then not even the
    // server's heartbeat arrives.
    let watchdog = setTimeout(giveUp, line.openMs);
    signal.addEventListener("abort", hangUp);
    socket.onopen = () => (opened = true);
    socket.onmessage = ({ data }) => {
      if (isOver) return;
      clearTimeout(watchdog);
      watchdog = setTimeout(giveUp, line.silenceMs);
      const frame = JSON.parse(data);
      if (frame.event === "drain") drain = frame.data;
      else line.onFrame(frame);
    };
    socket.onclose = ({ code, reason }) => {
      if (!opened && code === 1006) return done({ how: "unopened" });
      const error = code === 4401 ? EXPIRED : { status: 0, code: `CLOSED_${code}`, message: reason };
      done({ how: AFTER_CLOSE[code] ?? "again", retryAfterMs: drain.retryAfterMs, error });
    };
    // A close event with the reason follows, except in Node 20 after a refused upgrade.
    socket.onerror = () => {
      if (!opened) done({ how: "unopened" });
    };
  });
}

/** Server-Sent Events, read with fetch: unlike an EventSource it can send a header and read a status. */
export async function sse(line) {
  const { api, signal } = line;
  const token = await api.token.get();
  if (signal.aborted) return { how: "again", opened: false };
  const connection = new AbortController();
  const hangUp = () => connection.abort();
  signal.addEventListener("abort", hangUp);
  // Covers a proxy that withholds the answer, and later a connection that is dead without notice.
  let watchdog = setTimeout(hangUp, line.openMs);
  let opened = false;
  try {
    const response = await api.fetch(api.url(withCursor(`${line.path}/events`, line.cursor())), {
      headers: { ...bearer(token), Accept: "text/event-stream" },
      signal: connection.signal,
      cache: "no-store",
    });
    if (response.status === 204) return { how: "ended", opened };
    if (response.status !== 200) return refused(await refusal(response), token);
    // A proxy in between answered with a page of its own.
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) return { how: "unopened", opened };
    let drain;
    for await (const batch of batches(response.body)) {
      drain = batch.find(({ event }) => event === "drain")?.data ?? drain;
      // The feed opens with the first bytes, unless they refuse.
      if (!opened && !drain) line.onOpen?.();
      opened ||= batch.length > 0 || line.onOpen !== undefined;
      rearm();
      for (const frame of batch) if (frame.event !== "drain" && !signal.aborted) line.onFrame(frame);
    }
    if (drain?.code === "TOKEN_EXPIRED") return { how: "expired", opened, token, error: EXPIRED };
    return { how: "again", opened, retryAfterMs: drain?.retryAfterMs };
  } catch {
    return { how: opened || signal.aborted ? "again" : "unopened", opened };
  } finally {
    clearTimeout(watchdog);
    signal.removeEventListener("abort", hangUp);
    connection.abort();
  }

  function rearm() {
    clearTimeout(watchdog);
    watchdog = setTimeout(hangUp, opened ? line.silenceMs : line.openMs);
  }
}

/** Polling: only the newest state, as the event that made it. Ends after a while, so that a stream is tried again. */
export async function polling(line) {
  const { api, signal } = line;
  const until = Date.now() + line.pollForMs;
  let before = {};
  while (!signal.aborted) {
    const token = await api.token.get();
    try {
      const state = await status(line);
      const qr = state.status === "scan_qr" && state.hasQrCode ? await liveQr(line) : undefined;
      // The answer about a QR has no event id. A new one is that of this state only if nothing came between the requests.
      if (qr && !isSameQr(qr, before.qr) && (await status(line)).lastEventId !== state.lastEventId) continue;
      if (signal.aborted) break;
      if (before.status !== state.status) line.onFrame(opening(line, state, before, qr));
      const data = newest(state, qr);
      if (state.lastEventId && data && state.lastEventId !== before.lastEventId && !isSameQr(qr, before.qr)) {
        line.onFrame({ id: state.lastEventId, ...data });
      }
      before = { status: state.status, lastEventId: state.lastEventId, qr: qr ?? before.qr };
      if (hasEnded(state)) return { how: "ended", opened: true };
    } catch (error) {
      if (signal.aborted) break;
      if (error.code === "TOKEN_EXPIRED") return { how: "expired", opened: before.status !== undefined, token, error };
      if (error.isFinal) return { how: "stop", opened: false, error };
      return { how: "again", opened: before.status !== undefined, retryAfterMs: error.retryAfterMs };
    }
    if (Date.now() > until) return { how: "again", opened: true, retryAfterMs: 0 };
    await sleep(line.pollMs, signal);
  }
  return { how: "again", opened: true };
}

function status({ api, sessionId, signal }) {
  return api.call("GET", `/api/session-status/${encodeURIComponent(sessionId)}`, undefined, { signal });
}

async function liveQr({ api, sessionId, signal }) {
  try {
    const qr = await api.call("GET", `/api/qr-code/${encodeURIComponent(sessionId)}`, undefined, { signal });
    return { ...qr, now: Date.parse(qr.expiresAt) - qr.timeRemaining };
  } catch (error) {
    // Between the two requests the QR expired or was scanned.
    if (error.status === 409 || error.status === 410) return undefined;
    throw error;
  }
}

/** The `status` frame of a stream, as far as polling knows it. The server's time is in the answer about the QR. */
function opening({ cursor }, state, before, qr) {
  const resumed = before.status !== undefined || cursor() !== undefined;
  const now = qr && new Date(qr.now).toISOString();
  return { event: "status", data: { status: state.status, resumed, gap: false, me: state.me ?? null, now } };
}

function newest(state, qr) {
  const { sessionId, status, me, connectedAt, reason, detail, help } = state;
  switch (status) {
    case "scan_qr": {
      if (!qr) return undefined;
      const { qrString, qrDataUrl, expiresAt } = qr;
      return { event: "qr", data: { sessionId, qrString, qrDataUrl, expiresAt } };
    }
    case "authenticated":
      return { event: "authenticated", data: { sessionId, me } };
    case "connected":
      return { event: "ready", data: { sessionId, me, connectedAt, ...unfinished(state) } };
    case "reconnecting":
    case "disconnected":
    case "failed":
      return { event: "disconnected", data: { sessionId, reason, willReconnect: status === "reconnecting", detail, help } };
    default:
      return undefined;
  }
}

/** The mark of a `ready` that another one will complete. */
function unfinished({ incomplete, missing }) {
  if (!incomplete) return {};
  return { incomplete: true, missing: missing ?? (typeof incomplete === "string" ? incomplete : undefined) };
}

function isSameQr(qr, other) {
  return qr !== undefined && qr.qrString === other?.qrString;
}

/** Whether a stream would be closed now. */
function hasEnded({ status, reason }) {
  return status === "failed" || (status === "disconnected" && reason !== "qr_exhausted");
}

function refused(error, token) {
  // The body is not from our server: a proxy in between blocks this kind of answer.
  if (error.code === "UNKNOWN") return { how: "unopened", opened: false, token };
  if (error.code === "TOKEN_EXPIRED" || error.code === "UNAUTHORIZED") return { how: "expired", opened: false, token, error };
  if (error.isFinal) return { how: "stop", opened: false, error };
  return { how: "again", opened: false, retryAfterMs: error.retryAfterMs };
}

function withCursor(path, cursor) {
  return cursor === undefined ? path : `${path}?lastEventId=${encodeURIComponent(cursor)}`;
}

/** The frames of an event stream that came together: none where it is a sign of life alone. Read line by line, because comments
 *  would pile up otherwise. */
async function* batches(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let fields = {};
  for (;;) {
    const { done, value: bytes } = await reader.read();
    if (done) return;
    const batch = [];
    rest += decoder.decode(bytes, { stream: true });
    const lines = rest.split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
      // A comment has no field name. A block without data, for example `retry:` alone, is not a frame.
      if (name) fields[name] = value;
      if (line !== "") continue;
      if (fields.data !== undefined) batch.push(frame(fields));
      fields = {};
    }
    yield batch;
  }
}

function frame({ id, event, data }) {
  return { ...(id !== undefined && { id }), event, data: JSON.parse(data) };
}

/** Resolves after a while, or when it is aborted. */
export function sleep(ms, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
