// What `<qrcast-link>` knows about its session from the stream. Pure: link.js holds it, views.js draws it.

/** The state while a session is not linked. */
const ON_THE_WAY = ["qr", "code", "pairing_error", "passkey", "authenticated"];

/** The state before the stream has sent anything. */
export const nothingKnown = () => ({
  status: undefined,
  me: undefined,
  qr: undefined,
  code: undefined,
  /** The last `disconnected`. */
  cut: undefined,
  /** The last `ready`, which may yet be incomplete. */
  ready: undefined,
  /** Why the last try to link failed: `{ method, code, until }`. */
  problem: undefined,
  /** Set when the stream was refused for good. */
  refusal: undefined,
  /** Since when the status has held with which a stream was resumed: earlier events are history. */
  since: undefined,
});

/** Takes the status with which a stream opens. */
export function open(known, { status, me, since, resumed, gap }) {
  // Without a cursor the stream repeats what is still valid.
  if (!resumed || gap) Object.assign(known, { qr: undefined, code: undefined });
  if (status === "initializing") Object.assign(known, nothingKnown());
  Object.assign(known, { status, me: me ?? undefined, since: resumed ? Date.parse(since) : undefined });
}

/** Takes an event. Returns false if it is history, of which nothing is shown. `now` is the server's time. */
export function take(known, event, data, now) {
  // A page that comes back gets the events that it missed, and must not show a QR that was scanned meanwhile.
  if (ON_THE_WAY.includes(event) && Date.parse(data.at) < known.since) return false;
  known.since = undefined;
  switch (event) {
    case "qr":
      Object.assign(known, { status: "scan_qr", qr: data, me: undefined, cut: undefined });
      break;
    case "code":
      Object.assign(known, { status: "scan_qr", code: data, me: undefined, cut: undefined, problem: undefined });
      break;
    case "pairing_error":
      // A session that was linked, or asked for a passkey, begins anew.
      if (known.status !== "scan_qr") Object.assign(known, nothingKnown(), { status: "scan_qr" });
      refuse(known, data, now);
      break;
    case "passkey":
      Object.assign(known, nothingKnown(), { status: "passkey_required" });
      break;
    case "authenticated":
      Object.assign(known, nothingKnown(), { status: "authenticated", me: data.me });
      break;
    case "ready":
      Object.assign(known, nothingKnown(), { status: "connected", me: data.me, ready: data });
      break;
    case "disconnected":
      Object.assign(known, { status: statusAfter(data), cut: data, qr: undefined, code: undefined });
      break;
  }
  return true;
}

/** Takes a refusal of WhatsApp or of the server. */
export function refuse(known, { method, code, retryAfterMs }, now) {
  const word = String(code).toLowerCase();
  if (word === "code_expired" && known.code) {
    // This is nobody's mistake and has a view of its own, whether the page's clock or the event came first.
    const over = new Date(Math.min(Date.parse(known.code.expiresAt), now)).toISOString();
    known.code = { ...known.code, expiresAt: over };
    return;
  }
  known.problem = { method, code: word, until: retryAfterMs > 0 ? now + retryAfterMs : undefined };
  if (method === "code") known.code = undefined;
}

function statusAfter({ reason, willReconnect }) {
  if (willReconnect) return "reconnecting";
  return ["banned", "client_outdated", "rejected"].includes(reason) ? "failed" : "disconnected";
}
