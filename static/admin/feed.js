// The feed of all sessions, for as long as the page is open: `/api/events`, followed as a session's stream is. It has no cursor, so
// the page reads the list of sessions again after each opening.

import { Api } from "../qrcast/api.js";
import { OPEN_MS, Pauses, SILENCE_MS } from "../qrcast/pauses.js";
import { sleep, sse } from "../qrcast/transports.js";
import { key } from "../key.js";
import { lost } from "./api.js";

/**
 * Follows the feed until `signal` is aborted, or the key is refused.
 *
 * - `onOpen()`: from now on nothing is left out.
 * - `onEvent(name, data)`.
 * - `onState({ phase })`: `connecting`, `open`, `waiting`, `refused`.
 */
export async function follow({ signal, onOpen, onEvent, onState }) {
  const pauses = new Pauses();
  while (!signal.aborted) {
    onState({ phase: "connecting" });
    const began = Date.now();
    const connection = endsWith(signal, "offline");
    const { how, opened, retryAfterMs } = await sse({
      api: new Api({ token: key.value }),
      path: "/api",
      cursor: () => undefined,
      onOpen: () => {
        onState({ phase: "open" });
        onOpen();
      },
      onFrame: ({ event, data }) => onEvent(event, data),
      signal: connection.signal,
      openMs: OPEN_MS,
      silenceMs: SILENCE_MS,
    });
    connection.abort();
    if (signal.aborted) return;
    if (how === "stop" || how === "expired") {
      onState({ phase: "refused" });
      if (how === "expired") lost();
      return;
    }
    if (opened) pauses.opened(Date.now() - began);
    onState({ phase: "waiting" });
    const pause = endsWith(signal, "online", "try-now");
    await sleep(pauses.next(retryAfterMs), pause.signal);
    pause.abort();
  }
}

/** Is aborted with a signal, or by one of these events of the page. */
function endsWith(signal, ...names) {
  const end = new AbortController();
  const abort = () => end.abort();
  for (const name of names) addEventListener(name, abort, { signal: end.signal });
  signal.addEventListener("abort", abort, { signal: end.signal });
  return end;
}
