// When a connection that has ended is tried again, and how long one may be silent: the same for a session's stream (subscribe.js)
// and for the dashboard's feed (admin/feed.js).

/** Pauses between tries: 0.5 s, 1 s, 2 s … 30 s, each shortened by up to half so that viewers don't return in a wave. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** After a connection of this length the pauses begin anew. */
const GOOD_CONNECTION_MS = 5_000;

/** A connection that has not opened for this long is given up. */
export const OPEN_MS = 10_000;
/** So is one on which nothing came for this long. */
export const SILENCE_MS = 45_000;

export class Pauses {
  #failures = 0;

  /** A connection was open, and lasted for so long. */
  opened(lastedMs) {
    if (lastedMs > GOOD_CONNECTION_MS) this.beginAnew();
  }

  beginAnew() {
    this.#failures = 0;
  }

  /** How long to wait before the next try. */
  next(retryAfterMs) {
    const backOff = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures);
    this.#failures += 1;
    // The pause that the server asks for is the shortest; the jitter is added to it.
    const pause =
      retryAfterMs === undefined
        ? backOff * (0.5 + Math.random() / 2)
        : retryAfterMs + Math.random() * Math.min(retryAfterMs, backOff);
    return Math.round(pause);
  }
}
