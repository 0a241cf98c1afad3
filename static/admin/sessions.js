// Every session that the key may see, as the list and the feed tell of them. Knows no page; list.js, session.js and charts.js
// draw what is here.

import { isAfter as isLater } from "../qrcast/subscribe.js";
import { call } from "./api.js";

export const STATUSES = [
  "initializing", "scan_qr", "passkey_required", "authenticated", "connected", "reconnecting", "disconnected", "failed",
];

const PAGE = 200;
/** So many sessions that changed their owner are asked about one by one; more are read as a list. */
const ONE_BY_ONE = 20;
/** An answer that is behind the feed is asked for again, so often at most. */
const AGAIN_MS = 1_000;
const TRIES = 5;

export class Sessions extends EventTarget {
  rows = new Map();
  counts = Object.fromEntries(STATUSES.map((status) => [status, 0]));
  /** `waiting` for the feed, `loading`, `done`, or the error. */
  state = "waiting";
  readAt;
  #generation = 0;
  #ordered = [];
  #isOrdered = true;
  #dirty = false;
  #due = new Set();
  #asking = false;

  // ---- the list ----------------------------------------------------------------------------------------------

  /** Reads the whole list; what the feed tells meanwhile is newer and is kept. */
  async load() {
    const generation = ++this.#generation;
    this.state = "loading";
    this.#changed();
    try {
      let cursor;
      do {
        const page = await call("GET", `/api/sessions?limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
        if (generation !== this.#generation) return;
        for (const session of page.sessions) this.put(session);
        cursor = page.nextCursor;
      } while (cursor);
      for (const row of this.rows.values()) if (row.generation !== generation) this.#remove(row);
      this.state = "done";
      this.readAt = Date.now();
    } catch (error) {
      if (generation !== this.#generation) return;
      this.state = error;
    }
    this.#changed();
  }

  /** What an answer says of a session. */
  put(session) {
    const row = this.#row(session.sessionId);
    const { viewers = row.viewers, metadata } = session;
    // The feed is told of an event on its way into the log: an answer may still be of the moment before.
    const isBehind = isAfter(row.last, session.lastEventId);
    Object.assign(row, { viewers, metadata, isBehind, generation: this.#generation });
    if (!isBehind) {
      const { owner, since, me, reason, detail, help, incomplete, connectedAt, lastEventId: last } = session;
      Object.assign(row, { owner, since, me, reason, detail, help, incomplete, connectedAt, last });
      this.#status(row, session.status);
    }
    this.#touched(row);
  }

  /** Asks for one session anew; throws what the server says. The list alone has its viewers. */
  async refresh(id) {
    const session = await call("GET", `/api/session-status/${encodeURIComponent(id)}`);
    this.put(session);
    const { sessions } = await call("GET", `/api/sessions?limit=${PAGE}&userId=${encodeURIComponent(session.userId)}`);
    sessions.forEach((found) => this.put(found));
    return this.rows.get(id);
  }

  // ---- the feed ----------------------------------------------------------------------------------------------

  hear(name, data) {
    this.#take(name, data);
    this.dispatchEvent(new CustomEvent("event", { detail: [name, data] }));
  }

  #take(name, data) {
    const known = this.rows.has(data.sessionId);
    const row = this.#row(data.sessionId);
    if (row.last && !isAfter(data.id, row.last)) return;
    // A new epoch is a new start of its link task, perhaps on another replica.
    const moved = !known || epoch(row.last) !== epoch(data.id) || (name === "disconnected" && !data.willReconnect);
    Object.assign(row, { last: data.id, generation: this.#generation, ...news(name, data) });
    const status = statusAfter(name, data);
    if (status && status !== row.status) {
      row.since = data.at;
      this.#status(row, status);
    }
    this.#touched(row);
    if (!moved) return;
    row.tries = 0;
    this.#ask(row.id);
  }

  /** Asks for what the feed does not tell: the owner, the metadata. */
  async #ask(id) {
    this.#due.add(id);
    if (this.#asking) return;
    this.#asking = true;
    while (this.#due.size) {
      const asked = [...this.#due].slice(0, this.#due.size > ONE_BY_ONE ? undefined : 1);
      for (const each of asked) this.#due.delete(each);
      if (asked.length > 1) await this.load();
      // A session that is gone, or a server that is away: the next reading of the list says so.
      else await call("GET", `/api/session-status/${encodeURIComponent(asked[0])}`).then((found) => this.put(found), () => {});
      this.#askAgain(asked.map((each) => this.rows.get(each)).filter(Boolean));
    }
    this.#asking = false;
  }

  /** An owner, too, lets go of a session only after its end was told. */
  #askAgain(rows) {
    const late = rows.filter((row) => row.isBehind || (row.owner && ["disconnected", "failed"].includes(row.status)));
    const again = late.filter((row) => (row.tries += 1) < TRIES);
    if (again.length) setTimeout(() => again.forEach((row) => this.#ask(row.id)), AGAIN_MS);
  }

  // ---- what is shown -----------------------------------------------------------------------------------------

  /** The sessions that match, by user id, or those that changed last first. */
  view({ query = "", status = "", latest = false } = {}) {
    if (!this.#isOrdered) {
      this.#ordered = [...this.rows.values()].sort((a, b) => compare(a.user, b.user) || compare(a.id, b.id));
      this.#isOrdered = true;
    }
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.#ordered.filter(
      (row) => (!status || row.status === status) && words.every((word) => textOf(row).includes(word)),
    );
    return latest ? found.sort((a, b) => b.changed - a.changed) : found;
  }

  // ---- inside ------------------------------------------------------------------------------------------------

  #row(id) {
    let row = this.rows.get(id);
    if (!row) {
      row = { id, user: id.slice("session_".length, -37), version: 0, tries: 0, viewers: undefined };
      this.rows.set(id, row);
      this.#isOrdered = false;
    }
    return row;
  }

  #remove(row) {
    this.rows.delete(row.id);
    if (row.status) this.counts[row.status] -= 1;
    this.#isOrdered = false;
  }

  #status(row, status) {
    if (row.status) this.counts[row.status] -= 1;
    row.status = status;
    this.counts[status] += 1;
  }

  #touched(row) {
    row.version += 1;
    row.changed = Date.parse(row.since) || 0;
    row.text = undefined;
    this.#changed();
  }

  /** Tells of any number of changes once a frame. */
  #changed() {
    if (this.#dirty) return;
    this.#dirty = true;
    requestAnimationFrame(() => {
      this.#dirty = false;
      this.dispatchEvent(new Event("change"));
    });
  }
}

/** What a search looks through. */
function textOf(row) {
  row.text ??= [row.id, row.me?.pushName, row.me?.id, row.owner, row.reason].filter(Boolean).join(" ").toLowerCase();
  return row.text;
}

function news(name, data) {
  if (name === "authenticated") return { me: data.me, reason: null, detail: null, help: null };
  if (name === "ready") return { me: data.me, connectedAt: data.connectedAt, incomplete: data.incomplete ?? false, reason: null, detail: null, help: null };
  // New keys, or new QRs: what ended before is over.
  if (name !== "disconnected") return { reason: null, detail: null, help: null };
  return { connectedAt: null, reason: data.reason, detail: data.detail, help: data.help ?? null };
}

/** The status after an event, by the tables of docs/protocol.md. */
function statusAfter(name, { willReconnect, reason }) {
  if (name !== "disconnected") return { qr: "scan_qr", code: "scan_qr", pairing_error: "scan_qr", passkey: "passkey_required", authenticated: "authenticated", ready: "connected" }[name];
  if (willReconnect) return "reconnecting";
  return ["banned", "client_outdated", "rejected"].includes(reason) ? "failed" : "disconnected";
}

function epoch(id) {
  return id?.split("-")[0];
}

/** Whether one event id is later than another; no id is before all. */
export function isAfter(id, other) {
  return id && other ? isLater(id, other) : Boolean(id);
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
