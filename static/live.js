// The live page: makes a session for a user id, keeps it in the URL, and leaves the rest to `<qrcast-link>`.
//
// `/?session=ID#token=TOKEN` follows one session; the fragment never reaches a server or a log.

import "./qrcast.js";
import { Api } from "./qrcast/api.js";

const $ = (id) => document.getElementById(id);
const api = new Api();
const TITLES = { qr: "Scan the code", code: "Type the code", phone: "Link by number", ready: "Linked", over: "Not linked", refused: "Not linked" };

/** Shows what the URL says: the form, or one session. */
function route() {
  const session = new URLSearchParams(location.search).get("session");
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  $("start").hidden = Boolean(session);
  $("session").hidden = $("whose").hidden = !session;
  const link = $("link");
  if (!session) {
    link.removeAttribute("session");
    document.title = "Link WhatsApp";
    $("user").focus();
    return;
  }
  $("whose").firstElementChild.textContent = whose(session);
  if (token) link.setAttribute("token", token);
  else link.removeAttribute("token");
  link.setAttribute("session", session);
}

/** The user id inside `session_<userId>_<uuid>`. */
function whose(session) {
  const [, user] = /^session_(.+)_[0-9a-f-]{36}$/.exec(session) ?? [];
  return user ? `User ${user}.` : "";
}

async function start(userId) {
  const { sessionId, linkUrl, streamToken } = await api.call("POST", "/api/init-session", { userId });
  const fragment = streamToken ? `#token=${encodeURIComponent(streamToken)}` : new URL(linkUrl, location.href).hash;
  // An entry of its own: "back" leads to the form, a reload to the same session.
  history.pushState(null, "", `/?session=${encodeURIComponent(sessionId)}${fragment}`);
  route();
}

$("start").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  if ($("go").getAttribute("aria-disabled") === "true") return;
  const user = $("user").value.trim();
  complain("");
  if (!/^[A-Za-z0-9._@+-]{1,64}$/.test(user)) {
    return complain(user ? "A user id may hold only letters, digits and . _ @ + -" : "Enter a user id first.");
  }
  $("go").setAttribute("aria-disabled", "true");
  try {
    await start(user);
  } catch (error) {
    complain(why(error));
  } finally {
    $("go").setAttribute("aria-disabled", "false");
  }
});

function complain(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
  $("user").setAttribute("aria-invalid", String(Boolean(text)));
  if (text) $("user").focus();
}

function why({ status, code, message, retryAfterMs }) {
  const wait = retryAfterMs ? ` Try again in ${Math.ceil(retryAfterMs / 1000)} seconds.` : " Try again in a while.";
  if (code === "UNREACHABLE") return "The server can’t be reached. Check your connection and try again.";
  if (code === "SESSION_LIMIT") return `No more accounts can be linked at the moment.${wait}`;
  if (status === 429) return `Too many tries in a short time.${wait}`;
  if (status === 401 || status === 403) return "This server lets only its own programs start a link. Use the address it gave you.";
  if (status >= 500) return `The server could not start a link.${wait}`;
  return message;
}

$("user").addEventListener("input", () => complain(""));
$("link").addEventListener("qrcast-view", ({ detail }) => {
  const title = TITLES[detail.view?.split(":")[0]];
  document.title = title ? `${title} · Link WhatsApp` : "Link WhatsApp";
  // The dead ends have their own way out.
  $("whose").querySelector("a").hidden = /^(over|refused)/.test(detail.view);
});
addEventListener("popstate", route);
addEventListener("hashchange", route);
route();
