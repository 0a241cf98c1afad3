// What the dashboard makes of the feed and of answers that are older than it, against a server that is a fake function. Run with
// `node --test tests/js/sessions.test.mjs`.

import assert from "node:assert/strict";
import { test } from "node:test";

const ID = "session_ada_00000000-0000-4000-8000-000000000000";
/** What the server answers to a status, one after the other; the last one again and again. */
let answers = [];

globalThis.document = { documentElement: { hasAttribute: () => true } };
globalThis.sessionStorage = { getItem: () => null, setItem() {}, removeItem() {} };
globalThis.requestAnimationFrame = (draw) => setTimeout(draw);
globalThis.fetch = async () => Response.json(answers.length > 1 ? answers.shift() : answers[0]);

// The modules take themselves for a server's.
globalThis.URL = class extends URL {
  get protocol() {
    return "http:";
  }
};
const { Sessions } = await import("../../static/admin/sessions.js");

const status = (more) => ({ sessionId: ID, userId: "ada", metadata: null, ...more });
const until = async (what) => {
  for (let tries = 0; tries < 200 && !what(); tries += 1) await new Promise((over) => setTimeout(over, 50));
  assert.ok(what());
};

test("a status that is older than the feed takes nothing back, and is asked for again", async () => {
  const sessions = new Sessions();
  sessions.put(status({ status: "connected", lastEventId: "7-3", owner: "old" }));
  const late = status({ status: "reconnecting", lastEventId: "7-4", owner: "old" });
  answers = [late, late, status({ status: "connected", lastEventId: "8-1", owner: "new", me: { id: "1" } })];
  sessions.hear("ready", { sessionId: ID, id: "8-1", at: "2026-01-01T00:00:00.000Z", me: { id: "1" }, connectedAt: null });
  const row = sessions.rows.get(ID);
  assert.equal(row.status, "connected");
  await until(() => row.owner === "new");
  assert.deepEqual([row.status, row.last], ["connected", "8-1"]);
});

test("an older status does not bring an older owner back", () => {
  const sessions = new Sessions();
  sessions.put(status({ status: "connected", lastEventId: "8-1", owner: "new" }));
  sessions.put(status({ status: "reconnecting", lastEventId: "7-4", owner: "old" }));
  const row = sessions.rows.get(ID);
  assert.deepEqual([row.status, row.owner], ["connected", "new"]);
});

test("the owner of a session that has just ended is asked for until it has let go", async () => {
  const sessions = new Sessions();
  sessions.put(status({ status: "connected", lastEventId: "7-3", owner: "it" }));
  const ended = { status: "disconnected", reason: "logged_out", lastEventId: "7-4" };
  answers = [status({ ...ended, owner: "it" }), status({ ...ended, owner: null })];
  sessions.hear("disconnected", { sessionId: ID, id: "7-4", at: "2026-01-01T00:00:00.000Z", reason: "logged_out", willReconnect: false });
  const row = sessions.rows.get(ID);
  assert.equal(row.status, "disconnected");
  await until(() => row.owner === null);
});
