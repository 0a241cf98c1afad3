// The feed of all sessions, for as long as the page is open: reads `/api/events` by fetch, because an EventSource cannot send
// a key, and returns by the rules of docs/protocol.md. The page reads the list of sessions again after each opening.

import { request } from "./api.js";

/** Pauses between tries: 0.5 s, 1 s, 2 s … 30 s, each shortened by up to half so that pages don't return in a wave. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** After a connection of this length the pauses begin anew. */
const GOOD_CONNECTION_MS = 5_000;
/** A connection on which nothing came for this long is dead. */
const SILENCE_MS = 45_000;
const WATCH_MS = 5_000;

/**
 * Follows the feed until `signal` is aborted, or the key is refused.
 *
 * - `onOpen()`: from now on nothing is left out.
 * - `onEvents([[name, data], …])`: what came together.
 * - `onState({ phase, retryInMs? })`: `connecting`, `open`, `waiting`, `refused`.
 */
export async function follow({ signal, onOpen, onEvents, onState }) {
  let failures = 0;
  while (!signal.aborted) {
    onState({ phase: "connecting" });
    const began = Date.now();
    const end = await readOnce({ signal, onOpen, onEvents, onState });
    if (signal.aborted) return;
    if (end.refused) return onState({ phase: "refused" });
    failures = Date.now() - began > GOOD_CONNECTION_MS ? 0 : failures + 1;
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2);
    const retryInMs = Math.max(pause, end.retryAfterMs ?? 0);
    onState({ phase: "waiting", retryInMs });
    await rest(retryInMs, signal);
  }
}

/** One connection to its end; how it ended. */
async function readOnce({ signal, onOpen, onEvents, onState }) {
  const attempt = new AbortController();
  const stop = () => attempt.abort();
  let heard = Date.now();
  const watch = setInterval(() => Date.now() - heard > SILENCE_MS && stop(), WATCH_MS);
  signal.addEventListener("abort", stop);
  addEventListener("offline", stop);
  try {
    const headers = { Accept: "text/event-stream" };
    const response = await request("GET", "/api/events", { headers, signal: attempt.signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parse = parser();
    for (let opened = false; ;) {
      const { value, done } = await reader.read();
      if (done) return {};
      heard = Date.now();
      const events = parse(value);
      const drain = events.findIndex(([name]) => name === "drain");
      if (!opened && drain < 0) {
        opened = true;
        onState({ phase: "open" });
        onOpen();
      }
      onEvents(drain < 0 ? events : events.slice(0, drain));
      if (drain >= 0) return { retryAfterMs: events[drain][1].retryAfterMs };
    }
  } catch (error) {
    return { refused: [400, 401, 403, 404].includes(error?.status), retryAfterMs: error?.retryAfterMs };
  } finally {
    clearInterval(watch);
    signal.removeEventListener("abort", stop);
    removeEventListener("offline", stop);
    stop();
  }
}

/** Reads Server-Sent Events as they come, in pieces of any size. */
function parser() {
  let [rest, name, data] = ["", "", ""];
  return (text) => {
    const events = [];
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("event: ")) name = line.slice(7);
      else if (line.startsWith("data: ")) data = line.slice(6);
      else if (line === "" && name) {
        events.push([name, JSON.parse(data)]);
        [name, data] = ["", ""];
      }
    }
    return events;
  };
}

/** A pause that ends early when the network comes back, or when the person presses "Try now". */
function rest(ms, signal) {
  return new Promise((resolve) => {
    const over = new AbortController();
    const end = () => (over.abort(), clearTimeout(timer), resolve());
    const timer = setTimeout(end, ms);
    for (const name of ["online", "try-now"]) addEventListener(name, end, { signal: over.signal });
    signal.addEventListener("abort", end, { signal: over.signal });
  });
}
