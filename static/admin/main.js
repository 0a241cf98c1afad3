// The dashboard: asks for the key, follows the feed, and shows the list or one session, as the address says:
// `/admin` is the list, `/admin#session=ID` one session.

import { key, OPEN } from "../key.js";
import { call } from "./api.js";
import { newSession } from "./dialogs.js";
import { button, clock, h, notice, say, why, write } from "./dom.js";
import { follow } from "./feed.js";
import { List } from "./list.js";
import { ServerView } from "./server.js";
import { SessionView } from "./session.js";
import { Sessions } from "./sessions.js";
import { words } from "./words.js";

/** A break is mentioned only when it lasts this long. */
const QUIET_MS = 2_000;
/** A page that was out of sight for this long reads the list again: nobody told it of viewers. */
const STALE_MS = 60_000;

const main = document.querySelector("main");
const header = document.querySelector("header");

// ---- the key ---------------------------------------------------------------------------------------------------

/** Asks for a key until the server takes one. */
function ask(reason) {
  return new Promise((resolve) => {
    const problem = h("p", { id: "key-problem", class: "problem", role: "alert", hidden: true });
    const input = h("input", { id: "key", type: "password", autocomplete: "off", autocapitalize: "none", spellcheck: "false", "aria-describedby": "key-hint key-problem" });
    const use = h("button", { type: "submit" }, words.key.use);
    const complain = (text) => {
      problem.textContent = text;
      problem.hidden = !text;
      input.setAttribute("aria-invalid", String(Boolean(text)));
      if (text) input.select();
    };
    const submitted = async (submit) => {
      submit.preventDefault();
      const secret = input.value.trim();
      if (use.getAttribute("aria-disabled") === "true") return;
      if (!secret) return complain(words.key.none);
      // A header cannot carry other characters.
      if (!/^[\x20-\x7e]+$/.test(secret)) return complain(words.key.wrong);
      use.setAttribute("aria-disabled", "true");
      try {
        await call("GET", "/api/sessions?limit=1", undefined, { secret });
        key.value = secret;
        resolve();
      } catch (error) {
        complain(error.status === 401 ? words.key.wrong : why(error));
      } finally {
        use.setAttribute("aria-disabled", "false");
      }
    };
    main.replaceChildren(h("form", { class: "card", "aria-labelledby": "ask-title", novalidate: true, onsubmit: submitted },
      h("h2", { id: "ask-title" }, words.key.title), h("p", { class: "muted" }, reason), h("label", { for: "key" }, words.key.label), input,
      h("p", { id: "key-hint", class: "muted small" }, words.key.hint), problem, use));
    input.focus();
  });
}

// ---- the page --------------------------------------------------------------------------------------------------

/** Everything that one key sees; until it is forgotten or no longer taken. */
function open(signal) {
  const sessions = new Sessions();
  const server = new ServerView(sessions);
  const one = new SessionView(sessions);
  const list = new List(sessions, {
    signal,
    create: async () => {
      const made = await newSession();
      if (!made) return;
      say(words.create.done(made.sessionId.slice("session_".length, -37)));
      location.hash = `session=${encodeURIComponent(made.sessionId)}&qr`;
    },
  });
  const banner = h("div", { role: "status" });
  const light = h("span", { class: "status live" }, h("span", { "aria-hidden": "true" }), h("span"));
  const tools = h("div", { class: "bar end" }, light, !OPEN && button(words.key.forget, { class: "link small" }, () => dispatchEvent(new CustomEvent("key-lost", { detail: "forgotten" }))));
  header.append(tools);
  main.replaceChildren(banner, server.element, list.element, one.element);
  signal.addEventListener("abort", () => (tools.remove(), one.hide()));

  route(list, server, one, signal);
  server.start(signal);
  connect(sessions, one, { banner, light, signal });
}

function route(list, server, one, signal) {
  let before;
  const go = () => {
    const parameters = new URLSearchParams(location.hash.slice(1));
    const id = parameters.get("session") ?? undefined;
    document.title = id ? `${id.slice("session_".length, -37)} · qrcast` : words.title;
    // Taking away what has the focus lays the page out: before the list is a part of it.
    if (!id) one.hide();
    list.element.hidden = server.element.hidden = Boolean(id);
    if (id) {
      before = id;
      scrollTo(0, 0);
      one.show(id, { qr: parameters.has("qr") });
      return;
    }
    list.shown();
    // The keyboard goes on where it left.
    if (before) list.focus(before);
    before = undefined;
  };
  addEventListener("hashchange", go, { signal });
  go();
}

/** Follows the feed, and says when it is away. */
function connect(sessions, one, { banner, light, signal }) {
  let [asOf, hiddenAt, lost] = [Date.now(), 0, undefined];
  const isLost = () => {
    write(banner, "");
    banner.append(notice({ title: words.live.lost, text: words.live.lostText(clock(asOf)), kind: "warning", heading: "h2", children: [button(words.live.now, { class: "quiet" }, () => dispatchEvent(new Event("try-now")))] }));
  };
  follow({
    signal,
    onOpen: () => {
      sessions.load();
      one.again();
    },
    onEvent: (name, data) => sessions.hear(name, data),
    onState: ({ phase }) => {
      light.dataset.live = phase;
      write(light.lastElementChild, words.live[phase]);
      if (phase === "open") {
        clearTimeout(lost);
        lost = undefined;
        if (banner.hasChildNodes()) say(words.live.isBack);
        banner.replaceChildren();
      } else if (lost === undefined) {
        asOf = Date.now();
        lost = setTimeout(isLost, QUIET_MS);
      }
    },
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) hiddenAt = Date.now();
    else if (Date.now() - hiddenAt > STALE_MS) sessions.load();
  }, { signal });
}

let reason = words.key.text;
for (;;) {
  if (!OPEN && !key.value) await ask(reason);
  const over = new AbortController();
  const end = new Promise((resolve) => addEventListener("key-lost", resolve, { once: true }));
  open(over.signal);
  const { detail } = await end;
  over.abort();
  key.value = undefined;
  reason = detail === "forgotten" ? words.key.text : words.key.lost;
}
