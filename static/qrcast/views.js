// Draws `<qrcast-link>`: one view for each situation. Each is built once and then only updated, so that a field keeps
// its focus while other parts change. Knows no server.

import { ENDS, refusalView } from "./ends.js";
import {
  account, busyButton, button, codeBoxes, copyButton, h, icon, message, problemLine, spelled, steps, switchTo, title, trouble, wayBack,
  write,
} from "./parts.js";
import { clock, fill, phoneNumber } from "./words.js";

/** From when on a wait is called long: for a code, after a scan, for the server. */
const SLOW_CODE_MS = 20_000;
const SLOW_LOGIN_MS = 30_000;
const LONG_BREAK_MS = 15_000;

/**
 * Draws a scene into a shadow root. Gives back what to hand in next time: `{ key, view, update }`.
 *
 * `scene` is what link.js knows; `actions` are what its buttons do.
 */
export function draw(root, drawing, scene, actions) {
  const key = viewOf(scene);
  if (drawing?.key !== key) {
    const { node, update = () => {}, says } = viewNamed(key.split(":")[0], scene)(scene, actions);
    const frame = drawing?.frame ?? buildFrame(root, scene.spoken);
    frame.body.replaceChildren(node);
    frame.body.dataset.view = key;
    // A screen reader reads this out politely; countdowns are not read.
    frame.live.textContent = says;
    drawing = { key, frame, update };
  }
  drawing.update(scene);
  write(drawing.frame.quiet, noticeOf(scene));
  drawing.frame.body.classList.toggle("offline", scene.offlineMs > 0);
  return drawing;
}

function viewNamed(name, { passkeyViews }) {
  return VIEWS[name] ?? passkeyViews.PASSKEY_VIEWS[name];
}

/** What is said below every view. */
function noticeOf({ words, offlineMs, isTwice, status }) {
  if (offlineMs > 0) {
    if (!navigator.onLine) return `${words.offline} ${words.noNetwork}`;
    return offlineMs > LONG_BREAK_MS ? words.offlineLong : words.offline;
  }
  return isTwice && ["initializing", "scan_qr", "passkey_required"].includes(status) ? words.twice : "";
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
      if (scene.step) return scene.passkeyViews.passkeyView(scene);
      return scene.isPolled ? "passkeyUnseen" : "passkeyComing";
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

function buildFrame(root, { lang, dir }) {
  const body = h("div", { part: "body", class: "body", lang, dir });
  const live = h("p", { class: "unseen", role: "status", "aria-live": "polite", lang, dir });
  const quiet = h("p", { part: "notice", class: "notice", role: "status", "aria-live": "polite", lang, dir });
  root.replaceChildren(body, quiet, live);
  return { body, live, quiet };
}

// ---- the views -------------------------------------------------------------------------------------------------

const VIEWS = {
  loading, qr: qrView, phone, code: codeView, expired, authenticated, ready, passkeyComing, passkeyUnseen,
  ...ENDS,
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
  const slow = saysWhenSlow(view, words.loadingText, words.loadingSlow, SLOW_CODE_MS);
  const update = (scene) => {
    alert.update(problemOf(scene));
    slow();
  };
  return { ...view, update };
}

/** Another text in the same view, when a wait has become long. */
function saysWhenSlow(view, text, slow, patience) {
  const node = view.node.querySelector("[part=text]");
  const until = Date.now() + patience;
  return () => write(node, Date.now() > until ? slow : text);
}

function qrView({ words, isPhone }, actions) {
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
    h(
      "div",
      { class: "how" },
      alert.node,
      ...(isPhone ? [h("p", { part: "note", class: "note" }, words.qrOnPhone)] : []),
      steps(words.scanStep1, words.scanStep2, words.scanStep3),
      trouble(words, words.troubleScan, words.troubleDevices, words.troubleOffline),
    ),
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

function phone({ words, number, isPhone }, actions) {
  const input = h("input", {
    part: "input",
    dir: "ltr",
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
    h("p", { class: "muted" }, isPhone ? words.phoneOnPhone : words.phoneText),
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
    trouble(words, words.troubleDevices),
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
  const view = message(words.authenticatedTitle, words.authenticatedText, "spinner", [], "progress");
  return { ...view, update: saysWhenSlow(view, words.authenticatedText, words.authenticatedSlow, SLOW_LOGIN_MS) };
}

/** Between the status of a stream and its first event, and until the views of the passkey step are loaded. */
function passkeyComing({ words }) {
  return message(words.passkeyTitle, "", "key");
}

/** Polling does not deliver WhatsApp's request. */
function passkeyUnseen({ words }) {
  return message(words.passkeyTitle, words.passkeyUnseenText, "key");
}

/** One view for all stages: the text about what is still missing appears and disappears in it. */
function ready({ words, me, returnUrl }) {
  const back = wayBack(returnUrl, words, "main");
  const view = message(words.readyTitle, "", "check", back ? [back] : [], "good");
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
    if (back) back.hidden = !ready || Boolean(incomplete);
    const fitting = incomplete ? "spinner" : "check";
    if (fitting === shown) return;
    shown = fitting;
    sign.className = `sign ${incomplete ? "progress" : "good"}`;
    sign.replaceChildren(icon(fitting));
  };
  return { ...view, update, says: `${words.readyTitle}: ${me?.pushName ?? ""} ${phoneNumber(me?.id)}` };
}
