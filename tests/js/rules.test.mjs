// What qrcast.js makes of each close code, frame and refusal, against a server that is two fake functions. The real
// server is met in tests/it/qrcast_js.rs. Run with `node --test tests/js/rules.test.mjs`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, subscribe } from "../../static/qrcast.js";
import { isAfter } from "../../static/qrcast/subscribe.js";

const ID = "session_ada_00000000-0000-4000-8000-000000000000";
const opening = { event: "status", data: { status: "scan_qr", resumed: false, gap: false, now: "2026-01-01T00:00:00.000Z" } };
const heartbeat = { event: "heartbeat", data: { now: "2026-01-01T00:00:25.000Z" } };
const event = (id, name = "ready", data = {}) => ({ id, event: name, data });

/** A server whose sockets do what the script says, one entry a connection: frames, then a close code. */
function world({ sockets = [], fetches = {}, options = {} }) {
  const seen = { events: [], states: [], urls: [], protocols: [], calls: [] };
  let done;
  const over = new Promise((resolve) => (done = resolve));
  class FakeSocket {
    constructor(url, protocols) {
      seen.urls.push(url);
      seen.protocols.push(protocols);
      const plan = sockets.shift();
      if (!plan) return done();
      queueMicrotask(() => {
        if (plan.opens !== false) this.onopen?.();
        for (const frame of plan.frames ?? []) this.onmessage?.({ data: JSON.stringify(frame) });
        const close = () => this.onclose?.({ code: plan.code, reason: "" });
        const beat = plan.beatMs && setInterval(() => this.onmessage?.({ data: JSON.stringify(heartbeat) }), plan.beatMs);
        const end = () => (clearInterval(beat), close());
        // One without an end is a path that has died: nothing comes, not even the answer to a close.
        if (plan.livesMs) setTimeout(end, plan.livesMs);
        else if (plan.code) end();
      });
    }
    close() {}
  }
  const fetch = async (url, init) => {
    const path = new URL(url).pathname.replace(ID, "ID");
    seen.calls.push({ path, headers: init.headers });
    const answer = fetches[path];
    if (!answer) throw new TypeError("fetch failed");
    const { status = 200, body, type = "application/json", headers } = typeof answer === "function" ? answer(init) : answer;
    const text = typeof body === "string" ? body : JSON.stringify(body);
    return new Response(status === 204 ? null : text, { status, headers: { "Content-Type": type, ...headers } });
  };
  const following = subscribe(ID, {
    baseUrl: "http://server.test",
    WebSocket: FakeSocket,
    fetch,
    transports: ["websocket"],
    onEvent: (heard) => seen.events.push(heard.id),
    onState: (state) => {
      seen.states.push(state);
      if (["ended", "failed"].includes(state.phase)) done();
    },
    ...options,
  });
  return over.then(() => {
    following.close();
    return { ...seen, last: seen.states.filter((state) => state.phase !== "closed").at(-1), following };
  });
}

test("1000 means: the session has ended, don't return", async () => {
  const { last, urls } = await world({ sockets: [{ frames: [opening, event("7-1")], code: 1000 }] });
  assert.equal(last.phase, "ended");
  assert.equal(urls.length, 1);
});

test("1009 means: don't return", async () => {
  const { last, urls } = await world({ sockets: [{ frames: [opening], code: 1009 }] });
  assert.equal(last.phase, "failed");
  assert.equal(urls.length, 1);
});

test("1006, 1011 and 1013 mean: return with the cursor, later each time", async () => {
  const sockets = [1006, 1011, 1013].map((code, n) => ({ frames: [opening, event(`7-${n + 1}`)], code }));
  const { urls, states, events } = await world({ sockets });
  assert.deepEqual(events, ["7-1", "7-2", "7-3"]);
  assert.deepEqual(urls.map((url) => new URL(url).searchParams.get("lastEventId")), [null, "7-1", "7-2", "7-3"]);
  const pauses = states.filter((state) => state.phase === "waiting").map((state) => state.retryInMs);
  pauses.forEach((pause, n) => assert.ok(pause >= 250 * 2 ** n && pause <= 500 * 2 ** n, `pause ${n}: ${pause}`));
});

test("1012 means: return after what drain said, and no earlier", async () => {
  const drain = { event: "drain", data: { retryAfterMs: 700, code: "DRAINING" } };
  const { states, urls } = await world({ sockets: [{ frames: [opening, drain], code: 1012 }] });
  const { retryInMs } = states.find((state) => state.phase === "waiting");
  assert.ok(retryInMs >= 700 && retryInMs <= 1400, String(retryInMs));
  assert.equal(urls.length, 2);
});

test("4401 means: return with another token, or not at all", async () => {
  const tokens = ["old", "new"];
  const fetches = { "/api/sessions/ID/stream-token": { status: 404, body: { code: "NOT_FOUND" } } };
  const renewed = await world({
    sockets: [{ code: 4401 }, { frames: [opening], code: 1000 }],
    fetches,
    options: { token: async () => tokens.shift() },
  });
  assert.deepEqual(renewed.protocols, [["qrcast.v1", "bearer.old"], ["qrcast.v1", "bearer.new"]]);
  assert.equal(renewed.last.phase, "ended");

  const given = await world({ sockets: [{ code: 4401 }], options: { token: "only" } });
  assert.equal(given.last.phase, "failed");
  assert.equal(given.last.error.code, "TOKEN_EXPIRED");
});

test("a token that the server does not know is fetched anew, once, over every transport", async () => {
  const unknown = { status: 401, body: { code: "UNAUTHORIZED", error: "no" } };
  const knows = (token, answer) => ({ headers }) => (headers.Authorization === `Bearer ${token}` ? answer : unknown);
  const ended = { status: "failed", reason: "banned" };
  for (const transport of ["websocket", "sse", "polling"]) {
    const follow = (known) => {
      const asked = [];
      const fetches = {
        "/api/session-status/ID": knows(known, { body: ended }),
        "/api/sessions/ID/events": knows(known, { status: 204 }),
        "/api/sessions/ID/stream-token": { status: 404, body: { code: "NOT_FOUND" } },
      };
      const token = async () => {
        asked.push(1);
        return `token-${asked.length}`;
      };
      const sockets = [{ opens: false, code: 1006 }, { frames: [opening], code: 1000 }];
      const transports = [transport, ...["sse"].filter((next) => next !== transport)];
      return world({ sockets, fetches, options: { transports, token } }).then((seen) => ({ ...seen, asked: asked.length }));
    };
    const renewed = await follow("token-2");
    assert.deepEqual([renewed.last.phase, renewed.asked], ["ended", 2], transport);
    const connected = renewed.states.filter(({ phase }) => phase === "connecting").map((state) => state.transport);
    assert.ok(connected.every((by) => by === transport), `${transport} was not what stood in the way: ${connected}`);

    const wrong = await follow("another");
    assert.deepEqual([wrong.last.phase, wrong.last.error.code, wrong.asked], ["failed", "UNAUTHORIZED", 2], transport);
  }
});

test("a given token that the server does not know ends it", async () => {
  const unknown = { status: 401, body: { code: "UNAUTHORIZED", error: "no" } };
  const { last, calls } = await world({
    fetches: { "/api/sessions/ID/events": unknown },
    options: { transports: ["sse"], token: "only" },
  });
  assert.deepEqual([last.phase, last.error.code, calls.length], ["failed", "UNAUTHORIZED", 1]);
});

test("when what the server made of a given token has expired, the given one is tried again", async () => {
  const drain = { event: "drain", data: { retryAfterMs: 0, code: "TOKEN_EXPIRED" } };
  const { protocols, last } = await world({
    sockets: [{ frames: [opening, drain], livesMs: 20, code: 4401 }, { code: 4401 }, { frames: [opening], code: 4401 }],
    fetches: {
      "/api/sessions/ID/stream-token": { body: { streamToken: "short", streamTokenExpiresAt: "2026-01-01T00:10:00.000Z" } },
    },
    options: { token: "long" },
  });
  // Once: when it has expired too, that is all there was.
  assert.deepEqual(protocols.map(([, bearer]) => bearer), ["bearer.long", "bearer.short", "bearer.long"]);
  assert.deepEqual([last.phase, last.error.code], ["failed", "TOKEN_EXPIRED"]);
});

test("what the page's function says for good ends it", async () => {
  let asked = 0;
  const { last, urls } = await world({
    options: {
      token: async () => {
        if (asked++ === 0) throw new ApiError({ status: 410, code: "SESSION_ENDED", message: "gone" });
        return "late";
      },
    },
  });
  assert.deepEqual([last.phase, last.error.code, asked, urls.length], ["failed", "SESSION_ENDED", 1, 0]);
});

test("tokens of a second are renewed once a second", async () => {
  const renewed = [];
  const { last } = await world({
    sockets: [{ frames: [opening], livesMs: 2500, code: 1000 }],
    fetches: {
      "/api/sessions/ID/stream-token": () => {
        renewed.push(performance.now());
        // As seen by the server's clock, which begins with the year.
        const ends = Date.parse(opening.data.now) + (renewed.at(-1) - renewed[0]) + 600;
        return { body: { streamToken: `fresh-${renewed.length}`, streamTokenExpiresAt: new Date(ends).toISOString() } };
      },
    },
    options: { token: "first" },
  });
  assert.equal(last.phase, "ended");
  assert.ok(renewed.length > 1);
  // A timer may be a few milliseconds early.
  renewed.slice(1).forEach((at, n) => assert.ok(at - renewed[n] > 980, `renewed after ${at - renewed[n]} ms`));
});

test("a token that could not be fetched is fetched again", async () => {
  let tries = 0;
  const { protocols, last } = await world({
    sockets: [{ frames: [opening], code: 1000 }],
    fetches: { "/api/sessions/ID/stream-token": { status: 404, body: { code: "NOT_FOUND" } } },
    options: {
      token: async () => {
        if (tries++ === 0) throw new Error("the page's server is away");
        return "late";
      },
    },
  });
  assert.deepEqual(protocols, [["qrcast.v1", "bearer.late"]]);
  assert.equal(last.phase, "ended");
});

test("an open stream renews its token, for the next connection", async () => {
  const { protocols } = await world({
    sockets: [{ frames: [opening], code: 1011 }],
    fetches: {
      "/api/sessions/ID/stream-token": { body: { streamToken: "fresh", streamTokenExpiresAt: "2026-01-01T00:10:00.000Z" } },
    },
    options: { token: "first" },
  });
  assert.deepEqual(protocols, [["qrcast.v1", "bearer.first"], ["qrcast.v1", "bearer.fresh"]]);
});

test("a renewal that failed is tried again, and counts when the stream ends with the old token", async () => {
  let tries = 0;
  const away = { status: 503, body: { code: "STORE_AWAY", error: "away" }, headers: { "Retry-After": "1" } };
  const fresh = { body: { streamToken: "fresh", streamTokenExpiresAt: "2026-01-01T00:10:00.000Z" } };
  const drain = { event: "drain", data: { retryAfterMs: 5000, code: "TOKEN_EXPIRED" } };
  const { protocols, states, last } = await world({
    sockets: [
      { frames: [opening, drain], livesMs: 1500, code: 4401 },
      { frames: [opening], code: 1000 },
    ],
    fetches: { "/api/sessions/ID/stream-token": () => (tries++ === 0 ? away : fresh) },
    options: { token: "first" },
  });
  assert.deepEqual(protocols, [["qrcast.v1", "bearer.first"], ["qrcast.v1", "bearer.fresh"]]);
  assert.equal(last.phase, "ended");
  // The five seconds are for whoever returns with the same token.
  assert.ok(states.find((state) => state.phase === "waiting").retryInMs <= 500);
});

test("each newer token is told to the page", async () => {
  const told = [];
  const answer = { streamToken: "fresh", streamTokenExpiresAt: "2026-01-01T00:10:00.000Z" };
  await world({
    sockets: [{ frames: [opening], livesMs: 50, code: 1000 }],
    fetches: { "/api/sessions/ID/stream-token": { body: answer } },
    options: { token: "first", onToken: (token) => told.push(token) },
  });
  assert.deepEqual(told, [{ token: "fresh", expiresAt: answer.streamTokenExpiresAt }]);
});

test("a socket that never opened asks session-status why: a final answer ends it", async () => {
  for (const [status, code] of [[400, "INVALID_SESSION_ID"], [401, "UNAUTHORIZED"], [403, "FORBIDDEN"], [404, "SESSION_NOT_FOUND"]]) {
    const { last, urls } = await world({
      sockets: [{ opens: false, code: 1006 }],
      fetches: { "/api/session-status/ID": { status, body: { code, error: "no" } } },
    });
    assert.equal(last.phase, "failed");
    assert.deepEqual([last.error.status, last.error.code], [status, code]);
    assert.equal(urls.length, 1);
  }
});

test("a socket that never opened on a server that answers falls to SSE", async () => {
  const { states, last } = await world({
    sockets: [{ opens: false, code: 1006 }],
    fetches: { "/api/session-status/ID": { body: {} }, "/api/sessions/ID/events": { status: 204 } },
    options: { transports: ["websocket", "sse", "polling"] },
  });
  assert.deepEqual(states.filter((state) => state.phase === "connecting").map((state) => state.transport), ["websocket", "sse"]);
  assert.equal(last.phase, "ended");
});

test("SSE is read whatever the line ends and however the bytes are cut", async () => {
  const body =
    'retry: 2000\r\nevent: status\r\ndata: {"status":"connected"}\r\n\r\n: keep-alive\r\n: keep-alive\r\n\r\n: keep-alive\n' +
    'id: 7-1\nevent: ready\ndata: {"me":{"pushName":"Ağa 😀"}}\n\nid: 7-2\nevent: disconnected\ndata: {"reason":"logged_out","willReconnect":false}\n\n';
  const bytes = new TextEncoder().encode(body);
  const heard = [];
  await new Promise((resolve) => {
    subscribe(ID, {
      baseUrl: "http://server.test",
      transports: ["sse"],
      fetch: async () => {
        const pieces = new ReadableStream({
          start(controller) {
            for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
            controller.close();
          },
        });
        return new Response(pieces, { headers: { "Content-Type": "text/event-stream" } });
      },
      onEvent: (event) => heard.push(event),
      onState: ({ phase }) => phase === "ended" && resolve(),
    });
  });
  assert.deepEqual(heard.map(({ id }) => id), ["7-1", "7-2"]);
  assert.equal(heard[0].data.me.pushName, "Ağa 😀");
});

test("a QR that comes between the two requests of a poll is told under its own id", async () => {
  const waits = (lastEventId) => ({ status: "scan_qr", hasQrCode: true, lastEventId });
  // The server restarts between them: the first answer is of the old QR, the second of the new one.
  const states = [waits("7-3"), waits("9-2"), waits("9-2"), waits("9-2"), { status: "failed", reason: "banned", lastEventId: "9-3" }];
  const qr = { qrString: "new", qrDataUrl: "data:", expiresAt: "2026-01-01T00:01:00.000Z", timeRemaining: 60_000 };
  const { events } = await world({
    fetches: {
      "/api/session-status/ID": () => ({ body: states.length > 1 ? states.shift() : states[0] }),
      "/api/qr-code/ID": { body: qr },
    },
    options: { transports: ["polling"], pollMs: 1 },
  });
  assert.deepEqual(events, ["9-2", "9-3"]);
});

test("no id twice and none backwards", async () => {
  const frames = [opening, ...["7-2", "7-2", "7-1", "7-10", "7-9", "10-1", "9-99"].map((id) => event(id))];
  const { events } = await world({ sockets: [{ frames, code: 1000 }] });
  assert.deepEqual(events, ["7-2", "7-10", "10-1"]);
  assert.ok(isAfter("1763985600001-1", "1763985600000-999"));
});

test("after the last word of a session an end is the end, over SSE too", async () => {
  const body = 'event: status\ndata: {"status":"disconnected"}\n\nid: 7-9\nevent: disconnected\ndata: {"reason":"replaced","willReconnect":false}\n\n';
  const { last, calls } = await world({
    fetches: { "/api/sessions/ID/events": { body, type: "text/event-stream" } },
    options: { transports: ["sse"] },
  });
  assert.equal(last.phase, "ended");
  assert.equal(calls.length, 1);
});

test("a drain over SSE because of the token fetches another", async () => {
  const tokens = ["old", "new"];
  const drain = 'event: drain\ndata: {"retryAfterMs":0,"code":"TOKEN_EXPIRED"}\n\n';
  let connections = 0;
  const { calls, last } = await world({
    fetches: {
      "/api/sessions/ID/events": () => (connections++ ? { status: 204 } : { body: drain, type: "text/event-stream" }),
    },
    options: { transports: ["sse"], token: () => tokens.shift() },
  });
  assert.deepEqual(calls.map(({ headers }) => headers.Authorization), ["Bearer old", "Bearer new"]);
  assert.equal(last.phase, "ended");
});

test("the server's clock is the one that counts", async () => {
  const { following } = await world({ sockets: [{ frames: [opening], code: 1000 }] });
  assert.ok(Math.abs(following.now() - Date.parse("2026-01-01T00:00:00.000Z")) < 5_000);
});

test("a mistake in the page's own function loses no event", async () => {
  const mistakes = [];
  globalThis.reportError = ({ message }) => mistakes.push(message);
  const events = [];
  const { last } = await world({
    sockets: [{ frames: [opening, event("7-1"), event("7-2")], code: 1000 }],
    options: {
      onEvent: ({ id }) => {
        events.push(id);
        if (id === "7-1") throw new Error("mine");
      },
    },
  });
  assert.deepEqual([events, mistakes, last.phase], [["7-1", "7-2"], ["mine"], "ended"]);
});

/** The pieces of an SSE answer, each after a pause; without an end, or ended after the last. */
function sseAnswer(pieces, { ends, signal }) {
  const body = new ReadableStream({
    async start(controller) {
      signal.addEventListener("abort", () => controller.error(signal.reason));
      for (const [afterMs, text] of pieces) {
        await new Promise((resolve) => setTimeout(resolve, afterMs));
        if (signal.aborted) return;
        controller.enqueue(new TextEncoder().encode(text));
      }
      if (ends) controller.close();
    },
  });
  return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
}

test("a WebSocket on which nothing comes any more is given up, and resumed; a heartbeat is something", async () => {
  const { urls, states, events } = await world({
    sockets: [
      { frames: [opening, event("7-1")] },
      { frames: [opening, event("7-2")], beatMs: 100, livesMs: 1_500, code: 1011 },
      { frames: [opening], code: 1000 },
    ],
    options: { silenceMs: 600 },
  });
  assert.deepEqual(urls.map((url) => new URL(url).searchParams.get("lastEventId")), [null, "7-1", "7-2"]);
  assert.deepEqual(events, ["7-1", "7-2"]);
  assert.equal(states.filter(({ phase }) => phase === "open").length, 3, "a heartbeat is no opening");
});

test("what a WebSocket says after it was given up is not heard", async () => {
  const frames = [[opening, event("7-1")], [opening, event("7-2")]];
  class Late {
    constructor() {
      const [isFirst, mine] = [frames.length === 2, frames.shift()];
      const says = (frame) => this.onmessage({ data: JSON.stringify(frame) });
      queueMicrotask(() => {
        this.onopen();
        mine.forEach(says);
        if (isFirst) setTimeout(says, 200, event("7-9"));
        else this.onclose({ code: 1000, reason: "" });
      });
    }
    close() {}
  }
  const { events } = await world({ options: { WebSocket: Late, silenceMs: 100 } });
  assert.deepEqual(events, ["7-1", "7-2"]);
});

test("over SSE each byte is a sign of life, and silence is none", async () => {
  const start = 'retry: 2000\nevent: status\ndata: {"status":"connected"}\n\nid: 7-1\nevent: ready\ndata: {}\n\n';
  const comments = Array.from(": keep-alive\n", (byte) => [150, byte]);
  const asked = [];
  let began;
  let lived;
  await new Promise((resolve) => {
    subscribe(ID, {
      baseUrl: "http://server.test",
      transports: ["sse"],
      silenceMs: 700,
      fetch: async (url, { signal }) => {
        asked.push(new URL(url).searchParams.get("lastEventId"));
        if (asked.length > 1) {
          lived = performance.now() - began;
          return new Response(null, { status: 204 });
        }
        began = performance.now();
        return sseAnswer([[0, start], ...comments], { signal });
      },
      onState: ({ phase }) => phase === "ended" && resolve(),
    });
  });
  assert.deepEqual(asked, [null, "7-1"]);
  assert.ok(lived > 150 * comments.length + 600, `it lived for ${lived} ms`);
});

test("a page that is seen again and a device that wakes up connect at once, with the cursor", async (t) => {
  const page = new EventTarget();
  const document = Object.assign(new EventTarget(), { hidden: false });
  Object.assign(globalThis, { document, addEventListener: page.addEventListener.bind(page) });
  const realNow = Date.now;
  t.after(() => {
    delete globalThis.document;
    delete globalThis.addEventListener;
    Date.now = realNow;
  });
  const jump = (ms) => () => (Date.now = () => realNow() + ms);
  const show = (hidden) => {
    document.hidden = hidden;
    document.dispatchEvent(new Event("visibilitychange"));
  };
  const wakings = {
    "seen again": () => (show(true), show(false)),
    "out of the cache of pages": () => page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true })),
    thawed: () => document.dispatchEvent(new Event("resume")),
    "the network is back": () => page.dispatchEvent(new Event("online")),
    "all at once": () => {
      document.dispatchEvent(new Event("resume"));
      show(true);
      show(false);
      page.dispatchEvent(new Event("online"));
    },
    "slept for ten seconds": jump(10_000),
    "set back by an hour": jump(-3_600_000),
  };
  for (const [name, wake] of Object.entries(wakings)) {
    const transports = [["websocket"], ["sse"]];
    for (const [transport] of transports) {
      const asked = [];
      const states = [];
      Date.now = realNow;
      await new Promise((resolve) => {
        const opens = (url) => asked.push(new URL(url).searchParams.get("lastEventId"));
        class Socket {
          constructor(url) {
            opens(url);
            queueMicrotask(() => {
              this.onopen();
              for (const frame of [opening, event("7-1")]) this.onmessage({ data: JSON.stringify(frame) });
              if (asked.length > 1) this.onclose({ code: 1000, reason: "" });
            });
          }
          close() {}
        }
        const start = 'event: status\ndata: {"status":"connected"}\n\nid: 7-1\nevent: ready\ndata: {}\n\n';
        subscribe(ID, {
          baseUrl: "http://server.test",
          transports: [transport],
          WebSocket: Socket,
          fetch: async (url, { signal }) => {
            opens(url);
            return asked.length > 1 ? new Response(null, { status: 204 }) : sseAnswer([[0, start]], { signal });
          },
          onEvent: () => asked.length === 1 && setTimeout(wake),
          onState: ({ phase }) => {
            states.push(phase);
            if (phase === "ended") resolve();
          },
        });
      });
      assert.deepEqual(asked, [null, "7-1"], `${name}, ${transport}`);
      assert.ok(!states.includes("waiting"), `${name}, ${transport}: ${states}`);
    }
  }
});

test("a page that loads, one out of sight and a clock that is a little off are no reason to connect anew", async (t) => {
  const page = new EventTarget();
  const document = Object.assign(new EventTarget(), { hidden: true });
  Object.assign(globalThis, { document, addEventListener: page.addEventListener.bind(page) });
  const realNow = Date.now;
  t.after(() => {
    delete globalThis.document;
    delete globalThis.addEventListener;
    Date.now = realNow;
  });
  setTimeout(() => {
    page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: false }));
    document.dispatchEvent(new Event("visibilitychange"));
    Date.now = () => realNow() + 600_000;
  }, 100);
  const { urls } = await world({ sockets: [{ frames: [opening], livesMs: 2_500, code: 1000 }] });
  assert.equal(urls.length, 1);
});
