// The live page: makes a session for a user id, keeps it in the URL, and leaves the rest to `<qrcast-link>`.
//
// `/?session=ID#token=TOKEN` follows one session; the fragment never reaches a server or a log, and always has the newest
// token, so that a reload or a bookmark works for as long as tokens are renewed.
//
// A server with keys creates a session only with a key; when it refuses, the page asks for one. The key stays in this
// tab and is sent only in the `Authorization` of three calls; the stream gets a token.

import "./qrcast.js";
import { Api } from "./qrcast/api.js";

const $ = (id) => document.getElementById(id);
const TITLES = {
  qr: "Scan the code", code: "Type the code", phone: "Link by number", ready: "Linked", over: "Not linked", refused: "Not linked",
  passkey: "Passkey needed", passkeyPhone: "Passkey needed", passkeyAsking: "Passkey needed", passkeyCode: "Compare the code",
};
const WHY_KEY = {
  start: "Only someone with a key may link accounts here.",
  session: "Only someone with a key may open this address.",
  link: "With a key you can go on where the link that you were given has ended.",
  lost: "It no longer takes the key that this tab had.",
  other: "The key of this tab is not for this user id. Another one may be.",
};
/** A server without keys needs no token. Then an `Authorization` that a proxy in front of it needs is not overwritten. */
const OPEN = document.documentElement.hasAttribute("data-open");
const WRONG_KEY = "This server does not know that key. Check it and try again.";

/** What to do with the key that the page asks for: continues with it, or throws the server's error. */
let goOn;
/** Why the key of this tab was refused for this session. */
let trouble;

// ---- the key of this tab -----------------------------------------------------------------------------------------

/** A frame in another site may have no storage; then the key is kept as long as the page. */
const key = {
  get value() {
    try {
      return sessionStorage.getItem("qrcast-key") ?? undefined;
    } catch {
      return this.held;
    }
  },
  set value(value) {
    this.held = value;
    try {
      if (value) sessionStorage.setItem("qrcast-key", value);
      else sessionStorage.removeItem("qrcast-key");
    } catch {
      // The key is kept in memory.
    }
    $("keyed").hidden = !value;
  },
};

function call(path, body, secret = key.value) {
  return new Api({ token: secret }).call("POST", path, body);
}

async function tokenFor(session, secret) {
  return (await call(`/api/sessions/${encodeURIComponent(session)}/stream-token`, {}, secret)).streamToken;
}

/** The element's token: first the one of the address, later ones that are fetched with the key. */
function tokens(session, given) {
  return async () => {
    const first = given;
    given = undefined;
    if (first || !key.value) return first;
    // A token made with the key would outlive "Forget the key" there.
    if (address().session === session) dropToken(session);
    try {
      return await tokenFor(session);
    } catch (error) {
      trouble = { 401: "lost", 403: "other" }[error.status];
      // The session does not exist, or no longer: a key does not help, and the element says so.
      if (!trouble) throw error;
      // Without a token the stream is refused, and the page asks for another key.
      if (trouble === "lost") key.value = undefined;
      return undefined;
    }
  };
}

// ---- what is shown -----------------------------------------------------------------------------------------------

/** What the URL says. */
function address() {
  const session = new URLSearchParams(location.search).get("session") ?? undefined;
  const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? undefined;
  return { session, token };
}

/** Shows what the URL says: the form, or one session. */
function route() {
  const { session, token } = address();
  trouble = undefined;
  // The user id is shown only after the server has confirmed it, because anybody can write an address.
  show(session ? "session" : "start");
  const link = $("link");
  if (!session) {
    link.removeAttribute("session");
    link.token = undefined;
    $("user").focus();
    return;
  }
  link.token = key.value ? tokens(session, token) : OPEN ? undefined : token;
  link.restart = key.value ? () => call(`/api/sessions/${encodeURIComponent(session)}/restart`) : undefined;
  link.setAttribute("session", session);
}

/** One of the three: `start`, `ask`, `session`. */
function show(part, user) {
  for (const id of ["start", "ask", "session"]) $(id).hidden = id !== part;
  document.title = part === "ask" ? "A key is needed · Link WhatsApp" : "Link WhatsApp";
  $("whose").hidden = part === "start";
  nameUser(user);
  $("whose").querySelector("a").hidden = false;
  $("other-way").hidden = true;
  $("keyed").hidden = !key.value;
  complain("user", "");
  complain("key", "");
}

function nameUser(user) {
  $("whose").firstElementChild.textContent = user ? `User ${user}.` : "";
}

/** The user id inside `session_<userId>_<uuid>`. */
function userOf(session) {
  return /^session_([A-Za-z0-9._@+-]{1,64})_[0-9a-f-]{36}$/.exec(session)?.[1];
}

/** Asks for a key, and continues with it. */
function ask(why, user, then) {
  goOn = then;
  show("ask", user);
  $("ask-why").textContent = WHY_KEY[why];
  $("key").value = "";
  $("key").focus();
}

// ---- a new session -----------------------------------------------------------------------------------------------

async function start(userId, secret = key.value) {
  const { sessionId, streamToken } = await call("/api/init-session", { userId }, secret);
  if (secret) key.value = secret;
  // With a key the page fetches tokens itself. A token in the address would outlive "Forget the key".
  const fragment = secret ? "" : `#token=${encodeURIComponent(streamToken)}`;
  // A history entry of its own: "back" leads to the form, a reload to the same session.
  history.pushState(null, "", `?session=${encodeURIComponent(sessionId)}${fragment}`);
  route();
}

onSubmit("start", "go", async () => {
  const user = $("user").value.trim();
  complain("user", "");
  if (!/^[A-Za-z0-9._@+-]{1,64}$/.test(user)) {
    return complain("user", user ? "A user id may hold only letters, digits and . _ @ + -" : "Enter a user id first.");
  }
  try {
    await start(user);
  } catch (error) {
    if (error.status !== 401) return complain("user", why(error));
    const had = key.value;
    key.value = undefined;
    ask(had ? "lost" : "start", user, (secret) => begin(user, secret));
  }
});

/** A valid key that is not for this user is kept, because it may fit the next user id. */
async function begin(user, secret) {
  try {
    await start(user, secret);
  } catch (error) {
    if (error.status !== 403) throw error;
    key.value = secret;
    route();
    $("user").value = user;
    complain("user", why(error));
  }
}

/** Removes the token from the address, because it would become an old one. */
function dropToken(session) {
  history.replaceState(null, "", `?session=${encodeURIComponent(session)}`);
}

function followByKey(session) {
  dropToken(session);
  route();
}

/** Follows a session by a key that was typed. */
async function follow(session, secret) {
  try {
    await tokenFor(session, secret);
  } catch (error) {
    // The element reports all other errors itself.
    if (![400, 404, 410].includes(error.status)) throw error;
  }
  key.value = secret;
  followByKey(session);
}

onSubmit("ask", "unlock", async () => {
  const secret = $("key").value.trim();
  complain("key", "");
  if (!secret) return complain("key", "Enter a key first.");
  // A header cannot carry other characters.
  if (!/^[\x20-\x7e]+$/.test(secret)) return complain("key", WRONG_KEY);
  try {
    await goOn(secret);
    $("key").value = "";
  } catch (error) {
    complain("key", error.status === 401 ? WRONG_KEY : why(error));
    $("key").select();
  }
});

/** One at a time; the button stays where it is, so that a person who pressed it keeps the focus. */
function onSubmit(form, button, submitted) {
  $(form).addEventListener("submit", async (submit) => {
    submit.preventDefault();
    if ($(button).getAttribute("aria-disabled") === "true") return;
    $(button).setAttribute("aria-disabled", "true");
    try {
      await submitted();
    } finally {
      $(button).setAttribute("aria-disabled", "false");
    }
  });
}

// ---- words -------------------------------------------------------------------------------------------------------

function complain(field, text) {
  const problem = $(field === "key" ? "key-problem" : "problem");
  problem.textContent = text;
  problem.hidden = !text;
  $(field).setAttribute("aria-invalid", String(Boolean(text)));
  if (text) $(field).focus();
}

function why({ status, code, message, retryAfterMs }) {
  const wait = retryAfterMs ? ` Try again in ${Math.ceil(retryAfterMs / 1000)} seconds.` : " Try again in a while.";
  if (code === "UNREACHABLE") return "The server can’t be reached. Check your connection and try again.";
  if (code === "SESSION_LIMIT") return `No more accounts can be linked at the moment.${wait}`;
  if (status === 429) return `Too many tries in a short time.${wait}`;
  if (status === 403) return "This key is good, but not for this user id. It is for certain users only.";
  if (status >= 500) return `The server could not start a link.${wait}`;
  return message;
}

// ---- what happens ------------------------------------------------------------------------------------------------

$("user").addEventListener("input", () => complain("user", ""));
$("key").addEventListener("input", () => complain("key", ""));

$("link").addEventListener("qrcast-view", ({ detail }) => {
  const title = TITLES[detail.view?.split(":")[0]];
  if (!$("session").hidden) document.title = title ? `${title} · Link WhatsApp` : "Link WhatsApp";
  // Views that end a session offer a next step themselves.
  $("whose").querySelector("a").hidden = /^(over|refused)/.test(detail.view);
});

$("link").addEventListener("qrcast-token", ({ detail }) => {
  const { session, token } = address();
  if (token) history.replaceState(null, "", `?session=${encodeURIComponent(session)}#token=${encodeURIComponent(detail.token)}`);
});

/** Access was refused: a person who followed an address learns that it has expired and may use a key; everybody else needs one. */
$("link").addEventListener("qrcast-state", ({ detail }) => {
  if (detail.phase === "open") nameUser(userOf(address().session ?? ""));
  if (detail.phase !== "failed" || ![401, 403].includes(detail.error.status)) return;
  const { session, token } = address();
  if (!token) return askFor(session, trouble ?? "session");
  if (key.value && !trouble) return followByKey(session);
  $("other-way").firstElementChild.textContent = key.value ? "The key of this tab does not open it." : "Do you have a key of this server?";
  $("use-key").textContent = key.value ? "Use another key" : "Use a key";
  $("other-way").hidden = false;
});

function askFor(session, reason) {
  ask(reason, undefined, (secret) => follow(session, secret));
}

$("use-key").addEventListener("click", () => askFor(address().session, trouble ?? "link"));

$("forget").addEventListener("click", () => {
  key.value = undefined;
  history.pushState(null, "", location.pathname);
  route();
});

addEventListener("popstate", route);
addEventListener("hashchange", route);
route();
