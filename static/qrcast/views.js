// Draws `<qrcast-link>`: one view for each situation. Each is built once and then only updated, so that a field keeps
// its focus while other parts change. Knows no server.

import {
  account, busyButton, button, codeBoxes, copyButton, h, helpLine, icon, message, moment, problemLine, spelled, startAgain, steps,
  switchTo, title, write,
} from "./parts.js";
import { PASSKEY_VIEWS, passkeyView } from "./passkey-views.js";
import { clock, fill, phoneNumber } from "./words.js";

/**
 * Draws a scene into a shadow root. Gives back what to hand in next time: `{ key, view, update }`.
 *
 * `scene` is what link.js knows; `actions` are what its buttons do.
 */
export function draw(root, drawing, scene, actions) {
  const key = viewOf(scene);
  if (drawing?.key !== key) {
    const { node, update = () => {}, says } = VIEWS[key.split(":")[0]](scene, actions);
    const frame = drawing?.frame ?? buildFrame(root);
    frame.body.replaceChildren(node);
    frame.body.dataset.view = key;
    // A screen reader reads this out politely; countdowns are not read.
    frame.live.textContent = says;
    drawing = { key, frame, update };
  }
  drawing.update(scene);
  const { quiet } = drawing.frame;
  const notice = scene.offline ? scene.words.offline : "";
  if (quiet.textContent !== notice) quiet.textContent = notice;
  drawing.frame.body.classList.toggle("offline", scene.offline);
  return drawing;
}

/** The name of the view that fits; after a colon, what distinguishes two views of the same name. */
function viewOf(scene) {
  const { refusal, status, cut, me, qr, code, method, now } = scene;
  if (refusal) return `refused:${refusalView(refusal)}`;
  switch (status) {
    case "connected":
      return "ready";
    case "authenticated":
      return "authenticated";
    case "passkey_required":
      return passkeyView(scene);
    case "reconnecting":
      if (cut?.reason === "whatsapp_unreachable") return "unreachable";
      if (cut?.reason === "client_outdated") return "outdated";
      return me ? "lost:linked" : "lost";
    case "disconnected":
    case "failed":
      return cut ? `over:${cut.reason}` : "loading";
    default:
      if (status === undefined) return "loading";
      if (method === "phone" && code) return `${Date.parse(code.expiresAt) > now ? "code" : "expired"}:${code.expiresAt}`;
      if (method === "phone") return "phone";
      return qr ? "qr" : "loading";
  }
}

function refusalView({ status, code }) {
  if (status === 404 || code === "INVALID_SESSION_ID") return "unknown";
  if (code === "TOKEN_EXPIRED") return "refused";
  if (status === 401 || status === 403) return "denied";
  return code === "SESSION_ENDED" ? "unknown" : "broken";
}

function buildFrame(root) {
  const body = h("div", { part: "body", class: "body" });
  const live = h("p", { class: "unseen", role: "status", "aria-live": "polite" });
  const quiet = h("p", { part: "notice", class: "notice", role: "status", "aria-live": "polite" });
  root.replaceChildren(body, quiet, live);
  return { body, live, quiet };
}

// ---- the views -------------------------------------------------------------------------------------------------

const VIEWS = {
  loading, qr: qrView, phone, code: codeView, expired, authenticated, ready, lost, outdated, unreachable, over, refused,
  ...PASSKEY_VIEWS,
};

/** The reason why a try failed after the scan is shown again at the next try, for either method. */
const ANY_WAY = ["passkey_refused", "passkey_expired", "device_removed"];

function problemOf({ problem, why }, method) {
  if (!problem) return "";
  return problem.method === method || ANY_WAY.includes(problem.code) ? why(problem.code) : "";
}

function loading({ words, method }, actions) {
  const others = method === "qr" ? [switchTo("phone", words.toPhone, actions)] : [];
  const alert = problemLine();
  const view = message(words.loadingTitle, words.loadingText, "spinner", [alert.node, ...others], "progress");
  return { ...view, update: (scene) => alert.update(problemOf(scene)) };
}

function qrView({ words }, actions) {
  const image = h("img", { part: "qr", class: "qr", width: 264, height: 264 });
  const waiting = h("div", { class: "veil", hidden: true }, icon("spinner"), h("span", {}, words.expired));
  const countdown = h("span", { part: "countdown", role: "timer" });
  const attempt = h("span", { part: "attempt", class: "muted" });
  const bar = h("div", { class: "bar" });
  const alert = problemLine();
  const node = h(
    "section",
    { class: "split" },
    title(words.scanTitle),
    h(
      "div",
      { class: "stage" },
      h("div", { part: "qr-frame", class: "plate" }, image, waiting),
      h("div", { class: "track", "aria-hidden": "true" }, bar),
      h("p", { class: "meta" }, countdown, attempt),
    ),
    h("div", { class: "how" }, alert.node, steps(words.scanStep1, words.scanStep2, words.scanStep3)),
    h("div", { class: "other" }, switchTo("phone", words.toPhone, actions)),
  );
  let shown;
  let seenSince;
  const update = (scene) => {
    const { qr, now } = scene;
    if (shown !== qr) {
      shown = qr;
      image.src = qr.qrDataUrl;
      image.alt = fill(qr.attempt ? words.qrAlt : words.qrAltAlone, qr);
      attempt.textContent = qr.attempt ? fill(words.attempt, qr) : "";
      seenSince = now;
    }
    const expires = Date.parse(qr.expiresAt);
    const left = Math.max(0, expires - now);
    const last = qr.attempt !== undefined && qr.attempt === qr.maxAttempts;
    write(countdown, left ? fill(last ? words.countdownLast : words.countdown, { time: clock(left) }) : "");
    bar.style.inlineSize = `${(100 * left) / Math.max(1, expires - seenSince)}%`;
    waiting.hidden = left > 0;
    image.classList.toggle("stale", left === 0);
    alert.update(problemOf(scene, "qr"));
  };
  return { node, update, says: words.scanTitle };
}

function phone({ words, number }, actions) {
  const input = h("input", {
    part: "input",
    id: "number",
    name: "tel",
    type: "tel",
    inputmode: "tel",
    autocomplete: "tel",
    required: true,
    placeholder: "+90 555 123 45 67",
    "aria-describedby": "hint problem",
    "data-focus": true,
  });
  input.value = number;
  const ask = h("button", { part: "button", class: "main", type: "submit" });
  const alert = problemLine();
  alert.node.id = "problem";
  const form = h(
    "form",
    { class: "form", novalidate: true },
    h("label", { for: "number" }, words.phoneLabel),
    input,
    h("p", { id: "hint", class: "muted small" }, words.phoneHint),
    alert.node,
    ask,
  );
  form.addEventListener("submit", (submit) => {
    submit.preventDefault();
    if (ask.getAttribute("aria-disabled") !== "true") actions.askForCode(input.value);
  });
  const node = h(
    "section",
    { class: "single" },
    title(words.phoneTitle, false),
    h("p", { class: "muted" }, words.phoneText),
    form,
    h("div", { class: "other" }, switchTo("qr", words.toQr, actions)),
  );
  const update = (scene) => {
    const { problem, busy, now } = scene;
    const ours = problem?.method === "code" ? problem : undefined;
    const wait = ours?.until > now ? ours.until - now : 0;
    const says = busy ? words.phoneBusy : wait ? fill(words.phoneWait, { time: clock(wait) }) : words.phoneButton;
    busyButton(ask, says, busy || wait > 0);
    input.setAttribute("aria-invalid", String(ours?.code === "invalid_number"));
    alert.update(problemOf(scene, "code"));
  };
  return { node, update, says: words.phoneTitle };
}

function codeView({ words, code }, actions) {
  const alt = fill(words.codeAlt, { spelled: spelled(code.code) });
  const countdown = h("span", { part: "countdown", role: "timer" });
  const alert = problemLine();
  const node = h(
    "section",
    { class: "single" },
    title(words.codeTitle),
    h("p", { class: "muted" }, fill(words.codeFor, { number: phoneNumber(code.phoneNumber) })),
    codeBoxes(code.code, alt),
    h("p", { class: "meta" }, countdown, copyButton(code.code.replace("-", ""), words)),
    alert.node,
    steps(words.codeStep1, words.codeStep2, words.codeStep3),
    h("div", { class: "other" }, button("link", words.otherNumber, actions.otherNumber), switchTo("qr", words.toQr, actions)),
  );
  const update = (scene) => {
    write(countdown, fill(words.codeCountdown, { time: clock(Date.parse(code.expiresAt) - scene.now) }));
    alert.update(problemOf(scene, "code"));
  };
  return { node, update, says: `${words.codeTitle}. ${alt}` };
}

function expired({ words, code }, actions) {
  const renew = button("main", words.codeRenew, () => actions.askForCode(code.phoneNumber));
  const buttons = [
    renew,
    button("link", words.otherNumber, actions.otherNumber),
    switchTo("qr", words.toQr, actions),
  ];
  const view = message(words.codeExpiredTitle, words.codeExpiredText, "clock", buttons);
  return { ...view, update: ({ busy }) => busyButton(renew, busy ? words.phoneBusy : words.codeRenew, busy) };
}

function authenticated({ words }) {
  return message(words.authenticatedTitle, words.authenticatedText, "spinner", [], "progress");
}

/** One view for all stages: the text about what is still missing appears and disappears in it. */
function ready({ words, me }) {
  const view = message(words.readyTitle, "", "check", [], "good");
  const [sign, text] = ["[part=icon]", "[part=text]"].map((part) => view.node.querySelector(part));
  text.setAttribute("aria-live", "polite");
  const who = account(words);
  view.node.querySelector("h2").after(who.node);
  let shown = "check";
  const update = ({ me: now, ready }) => {
    who.update(now);
    const { incomplete, missing } = ready ?? {};
    const unfinished = missing === "keys" ? words.incompleteKeysText : words.incompleteSettingsText;
    // The status alone does not show it; the event does, and comes with it.
    write(text, !ready ? "" : incomplete ? unfinished : words.readyText);
    const fitting = incomplete ? "spinner" : "check";
    if (fitting === shown) return;
    shown = fitting;
    sign.className = `sign ${incomplete ? "progress" : "good"}`;
    sign.replaceChildren(icon(fitting));
  };
  return { ...view, update, says: `${words.readyTitle}: ${me?.pushName ?? ""} ${phoneNumber(me?.id)}` };
}

function lost({ words, me, cut }) {
  const view = message(words.lostTitle, me ? words.lostText : words.lostUnlinkedText, "spinner", [], "progress");
  return withAccount(withHelp(view, cut, words), me, words);
}

function outdated({ words, me, cut }) {
  const view = message(words.outdatedTitle, words.outdatedText, "clock", [], "warning");
  return withAccount(withHelp(view, cut, words), me, words);
}

function unreachable({ words, cut }) {
  return withHelp(message(words.unreachableTitle, words.unreachableText, "away", [], "warning"), cut, words);
}

function withAccount(view, me, words) {
  if (!me) return view;
  const who = account(words);
  view.node.querySelector("h2").after(who.node);
  return { ...view, update: ({ me: now }) => who.update(now) };
}

function withHelp(view, cut, words) {
  const help = helpLine(cut?.help, words);
  if (help) view.node.querySelector("[part=text]").after(help);
  return view;
}

/** The session is not linked and will not reconnect by itself: what happened, and the next step. */
function over({ words, cut, startOver }, actions) {
  const { reason, until, detail } = cut;
  const values = { until: until && moment(until), detail: detail ?? "" };
  const plain = /\D/.test(detail ?? "") ? words.rejectedText : words.rejectedCodeText;
  const text = reason === "banned" && until ? words.bannedUntilText : reason !== "rejected" && words[`${reason}Text`];
  const next = words[`${reason}Next`];
  const again = next && button("main", next, actions.restart);
  const alert = problemLine();
  const buttons = [alert.node, again, startAgain(startOver, words, !next)].filter(Boolean);
  const look = { qr_exhausted: ["clock", "calm"], logged_out: ["exit", "calm"], replaced: ["exit", "calm"] };
  const [sign, mood] = look[reason] ?? ["stop", reason === "deleted" ? "calm" : "bad"];
  const view = message(words[`${reason}Title`] ?? words.rejectedTitle, fill(text || plain, values), sign, buttons, mood);
  withHelp(view, cut, words);
  const update = ({ busy, problem, why }) => {
    if (again) busyButton(again, next, busy);
    alert.update(problem?.method === "restart" ? fill(words.restartFailed, { reason: why(problem.code) }) : "");
  };
  return { ...view, update };
}

function refused({ words, refusal, startOver }) {
  const kind = refusalView(refusal);
  const buttons = [startAgain(startOver, words, true)].filter(Boolean);
  return message(words[`${kind}Title`], fill(words[`${kind}Text`], refusal), "stop", buttons, "bad");
}
