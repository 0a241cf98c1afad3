// The live page: makes a session for a user id, keeps it in the URL, and leaves the rest to `<qrcast-link>`.
//
// `/?session=ID#token=TOKEN` follows one session; the fragment never reaches a server or a log, and always has the newest
// token, so that a reload or a bookmark works for as long as tokens are renewed.
//
// A server with keys creates a session only with a key; when it refuses, the page asks for one. The key stays in this
// tab and is sent only in the `Authorization` of three calls; the stream gets a token.
//
// The server writes what its settings say into the attributes of `<html>`; src/http/pages/front.rs has them.

import { key, OPEN } from "./key.js";
import { Api } from "./qrcast/api.js";
import { QrcastLink } from "./qrcast/link.js";
import { choose, fill, inTime, load, whyRefused } from "./qrcast/words.js";

const $ = (id) => document.getElementById(id);
/** `PAGE_TITLE`, and the origins to which a page may lead back: those of `ALLOWED_ORIGINS`. */
const { title: TITLE, returns: RETURNS = "" } = document.documentElement.dataset;

/** Chosen before anything is shown. */
let words;
let lang;

/** What to do with the key that the page asks for: continues with it, or throws the server's error. */
let goOn;
/** Why the key of this tab was refused for this session. */
let trouble;

// ---- the key of this tab -----------------------------------------------------------------------------------------

/** Keeps a key, or forgets it, and says so. */
function keep(secret) {
  key.value = secret;
  $("keyed").hidden = !secret;
}

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
      if (trouble === "lost") keep(undefined);
      return undefined;
    }
  };
}

// ---- what is shown -----------------------------------------------------------------------------------------------

/** What the URL says. */
function address() {
  const session = parameter("session");
  const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? undefined;
  return { session, token };
}

function parameter(name) {
  return new URLSearchParams(location.search).get(name) ?? undefined;
}

/** The same page with another session, or none. What else was asked of it stays: the language, and the way back. */
function query(session) {
  const asked = new URLSearchParams(location.search);
  asked.delete("session");
  if (session) asked.set("session", session);
  return `${location.pathname}?${asked}`.replace(/\?$/, "");
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
  if (returnsTo()) link.setAttribute("return-url", returnsTo());
  link.setAttribute("session", session);
}

/** Where the person came from. Anybody can write an address, so it must be one that the server would have let into a `linkUrl`. */
function returnsTo() {
  const address = parameter("returnUrl");
  try {
    const { origin, protocol, username, password } = new URL(address);
    const isPage = /^https?:$/.test(protocol) && !username && !password;
    const isAllowed = [location.origin, ...RETURNS.split(" ")].some((rule) => {
      const [scheme, domain] = rule.split("*.");
      return rule === "*" || rule === origin || (domain && origin.startsWith(scheme) && origin.endsWith(`.${domain}`));
    });
    return isPage && isAllowed ? address : undefined;
  } catch {
    return undefined;
  }
}

/** One of the three: `start`, `ask`, `session`. */
function show(part, user) {
  for (const id of ["start", "ask", "session"]) $(id).hidden = id !== part;
  nameTab(part === "ask" && words.keyTab);
  $("whose").hidden = part === "start";
  nameUser(user);
  $("whose").querySelector("a").hidden = false;
  $("other-way").hidden = true;
  $("keyed").hidden = !key.value;
  complain("user", "");
  complain("key", "");
}

function nameTab(title) {
  const name = TITLE ?? words.pageTitle;
  document.title = title ? `${title} · ${name}` : name;
}

function nameUser(user) {
  $("whose").firstElementChild.textContent = user ? fill(words.user, { user }) : "";
}

/** The user id inside `session_<userId>_<uuid>`. */
function userOf(session) {
  return /^session_([A-Za-z0-9._@+-]{1,64})_[0-9a-f-]{36}$/.exec(session)?.[1];
}

/** Asks for a key, and continues with it. */
function ask(why, user, then) {
  goOn = then;
  show("ask", user);
  $("ask-why").textContent = words[`keyWhy_${why}`];
  $("key").value = "";
  $("key").focus();
}

// ---- a new session -----------------------------------------------------------------------------------------------

async function start(userId, secret = key.value) {
  const { sessionId, streamToken } = await call("/api/init-session", { userId }, secret);
  if (secret) keep(secret);
  // With a key the page fetches tokens itself. A token in the address would outlive "Forget the key".
  const fragment = secret ? "" : `#token=${encodeURIComponent(streamToken)}`;
  // A history entry of its own: "back" leads to the form, a reload to the same session.
  history.pushState(null, "", `${query(sessionId)}${fragment}`);
  route();
}

onSubmit("start", "go", async () => {
  const user = $("user").value.trim();
  complain("user", "");
  if (!/^[A-Za-z0-9._@+-]{1,64}$/.test(user)) {
    return complain("user", user ? words.userWrong : words.userMissing);
  }
  try {
    await start(user);
  } catch (error) {
    if (error.status !== 401) return complain("user", why(error));
    const had = key.value;
    keep(undefined);
    ask(had ? "lost" : "start", user, (secret) => begin(user, secret));
  }
});

/** A valid key that is not for this user is kept, because it may fit the next user id. */
async function begin(user, secret) {
  try {
    await start(user, secret);
  } catch (error) {
    if (error.status !== 403) throw error;
    keep(secret);
    route();
    $("user").value = user;
    complain("user", why(error));
  }
}

/** Removes the token from the address, because it would become an old one. */
function dropToken(session) {
  history.replaceState(null, "", query(session));
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
  keep(secret);
  followByKey(session);
}

onSubmit("ask", "unlock", async () => {
  const secret = $("key").value.trim();
  complain("key", "");
  if (!secret) return complain("key", words.keyMissing);
  // A header cannot carry other characters.
  if (!/^[\x20-\x7e]+$/.test(secret)) return complain("key", words.keyWrong);
  try {
    await goOn(secret);
    $("key").value = "";
  } catch (error) {
    complain("key", error.status === 401 ? words.keyWrong : why(error));
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

function why({ status, code, retryAfterMs }) {
  const wait = ` ${retryAfterMs ? fill(words.againIn, { when: inTime(retryAfterMs, lang) }) : words.againLater}`;
  if (code === "SESSION_LIMIT") return words.startLimit + wait;
  if (code === "INVALID_USER_ID") return words.userWrong;
  if (status === 429) return words.startOften + wait;
  if (status === 403) return words.keyOfOthers;
  if (status >= 500) return words.startFailed + wait;
  return whyRefused(words, code);
}

// ---- what happens ------------------------------------------------------------------------------------------------

$("user").addEventListener("input", () => complain("user", ""));
$("key").addEventListener("input", () => complain("key", ""));

$("link").addEventListener("qrcast-view", ({ detail }) => {
  if (!$("session").hidden) nameTab($("link").shadowRoot.querySelector("h2")?.textContent);
  // Views that end a session offer a next step themselves.
  $("whose").querySelector("a").hidden = /^(over|refused)/.test(detail.view);
});

$("link").addEventListener("qrcast-token", ({ detail }) => {
  const { session, token } = address();
  if (token) history.replaceState(null, "", `${query(session)}#token=${encodeURIComponent(detail.token)}`);
});

/** Access was refused: a person who followed an address learns that it has expired and may use a key; everybody else needs one. */
$("link").addEventListener("qrcast-state", ({ detail }) => {
  if (detail.phase === "open") nameUser(userOf(address().session ?? ""));
  if (detail.phase !== "failed" || ![401, 403].includes(detail.error.status)) return;
  const { session, token } = address();
  if (!token) return askFor(session, trouble ?? "session");
  if (key.value && !trouble) return followByKey(session);
  $("other-way").firstElementChild.textContent = key.value ? words.keyElse : words.keyHave;
  $("use-key").textContent = key.value ? words.keyAnother : words.keyUse;
  $("other-way").hidden = false;
});

function askFor(session, reason) {
  ask(reason, undefined, (secret) => follow(session, secret));
}

$("use-key").addEventListener("click", () => askFor(address().session, trouble ?? "link"));

$("forget").addEventListener("click", () => {
  keep(undefined);
  history.pushState(null, "", query());
  route();
});

/** Says everything on the page in one language: that of `?lang=`, else the reader's. */
async function speak() {
  const html = document.documentElement;
  const spoken = await load(choose(parameter("lang"), ...navigator.languages));
  ({ words, lang } = spoken);
  html.lang = lang;
  html.dir = spoken.dir;
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = words[node.dataset.word];
  document.querySelector("h1").textContent = TITLE ?? words.pageTitle;
  // A new start keeps the language.
  for (const link of document.querySelectorAll('a[href="./"]')) link.href = query();
  $("link").setAttribute("start-over", query());
  $("link").lang = lang;
}

customElements.define("qrcast-link", QrcastLink);
await speak();
addEventListener("popstate", route);
addEventListener("hashchange", route);
route();
