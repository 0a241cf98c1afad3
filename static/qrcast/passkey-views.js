// How `<qrcast-link>` draws the passkey step: the ways to use the passkey, the wait, and the code that is compared with the
// phone's. Views like those of views.js, which draws them; what they show is in step.js. Loaded with step.js by link.js when
// WhatsApp asks for a passkey, which most links never see.

import { fill, clock, whyRefused } from "./words.js";
import { snippet } from "./passkey.js";
import { busyButton, button, codeBoxes, copyButton, h, message, problemLine, spelled, steps, title, write } from "./parts.js";

const WHATSAPP_WEB = "https://web.whatsapp.com/";

/** Which of the views below fits; after a colon, what makes it another one of its kind. */
export function passkeyView({ step, isPhone }) {
  switch (step.phase) {
    case "asking":
      return "passkeyAsking";
    case "sent":
      return "passkeySent";
    case "confirmation":
    case "confirmed":
      return `passkeyCode:${step.code}`;
    default:
      return isPhone && !step.anyway ? "passkeyPhone" : `passkey:${step.options?.challenge}`;
  }
}

export const PASSKEY_VIEWS = { passkey, passkeyPhone, passkeyAsking, passkeySent, passkeyCode };

/** The two ways to use it: the extension, and by hand. */
function passkey({ words, step, extensionAddress }, actions) {
  const time = timeLeft();
  const alert = problemLine();
  const use = button("main", words.passkeyUse, () => actions.passkey("useExtension"));
  const withIt = h("div", { class: "way" }, use, h("p", { class: "muted small" }, words.passkeyUseHint));
  const without = h("div", { class: "way quiet" }, ...installHint(words, extensionAddress));
  const hand = byHand(words, step.options, actions);
  const node = h(
    "section",
    { class: "single passkey" },
    title(words.passkeyTitle),
    h("p", { class: "muted" }, words.passkeyText),
    time.node,
    alert.node,
    withIt,
    without,
    hand.node,
    h("p", { class: "muted small" }, words.passkeyNone),
    h("div", { class: "other" }, button("link", words.passkeyStartOver, actions.restart)),
  );
  const update = ({ words, step, now }) => {
    const isOver = time.update(words, step, now);
    withIt.hidden = !step.hasExtension;
    without.hidden = step.hasExtension;
    busyButton(use, words.passkeyUse, isOver);
    const isOfAnswer = Boolean(step.problem?.code.startsWith("answer_"));
    const problem = sayProblem(words, step);
    hand.update(isOver, isOfAnswer ? problem : "");
    alert.update(isOfAnswer ? "" : problem);
  };
  return { node, update, says: `${words.passkeyTitle}. ${words.passkeyText}` };
}

function installHint(words, address) {
  const get = /^https?:\/\//.test(address ?? "") && outward(address, words.passkeyGet, "switch");
  return [h("p", {}, words.passkeyInstall), h("p", {}, get || words.passkeyWhereFrom)];
}

/** Collapsed, because it is the harder way. */
function byHand(words, options, actions) {
  const text = snippet(options);
  const shown = h("textarea", { part: "input", class: "snippet", dir: "ltr", readonly: true, rows: 3, spellcheck: "false", "aria-label": words.snippetLabel });
  shown.value = text;
  shown.addEventListener("focus", () => shown.select());
  const field = h("textarea", {
    part: "input", id: "answer", dir: "ltr", rows: 3, required: true, autocomplete: "off", autocapitalize: "none", spellcheck: "false",
    placeholder: '{"id":"…","rawId":"…"}', "aria-describedby": "answer-problem",
  });
  const alert = problemLine();
  alert.node.id = "answer-problem";
  const send = h("button", { part: "button", class: "main", type: "submit" }, words.answerSend);
  const form = h("form", { class: "form", novalidate: true }, h("label", { for: "answer" }, words.answerLabel), field, alert.node, send);
  form.addEventListener("submit", (submit) => {
    submit.preventDefault();
    if (send.getAttribute("aria-disabled") !== "true") actions.passkey("paste", field.value);
  });
  const copy = copyButton(text, words, words.snippetCopy);
  const node = h(
    "details",
    { class: "hand" },
    h("summary", {}, words.byHand),
    steps(words.byHandStep1, words.byHandStep2, words.byHandStep3, words.byHandStep4),
    h("p", { class: "meta" }, outward(WHATSAPP_WEB, words.openWhatsApp, "switch"), copy),
    shown,
    h("p", { class: "muted small" }, words.snippetCaution),
    form,
  );
  const update = (isOver, problem) => {
    busyButton(send, words.answerSend, isOver);
    field.setAttribute("aria-invalid", String(Boolean(problem)));
    alert.update(problem);
  };
  return { node, update };
}

/** A link to another site does not send the address of this page, which may contain a token. */
function outward(address, text, part) {
  return h("a", { part, class: "link", href: address, target: "_blank", rel: "noopener noreferrer" }, text);
}

/** Shown on a phone, which cannot do the step alone, instead of a button that would not work. */
function passkeyPhone({ words }, actions) {
  const time = timeLeft();
  const node = h(
    "section",
    { class: "single passkey" },
    title(words.passkeyPhoneTitle),
    h("p", { class: "muted" }, words.passkeyPhoneText),
    time.node,
    steps(words.passkeyPhoneStep1, words.passkeyPhoneStep2),
    h("p", { class: "muted small" }, words.passkeyNone),
    h("div", { class: "other" }, button("link", words.passkeyAnyway, () => actions.passkey("showAnyway")), button("link", words.passkeyStartOver, actions.restart)),
  );
  const update = ({ words, step, now }) => void time.update(words, step, now);
  return { node, update, says: `${words.passkeyPhoneTitle}. ${words.passkeyPhoneText}` };
}

function passkeyAsking({ words }, actions) {
  const cancel = button("link", words.passkeyCancel, () => actions.passkey("stopAsking"));
  const view = message(words.passkeyAskingTitle, words.passkeyAskingText, "key", [cancel], "progress");
  const time = timeLeft();
  view.node.querySelector("[part=text]").after(time.node);
  return { ...view, update: ({ words, step, now }) => void time.update(words, step, now) };
}

function passkeySent({ words }) {
  return message(words.passkeySentTitle, words.passkeySentText, "spinner", [], "progress");
}

function passkeyCode({ words, step }, actions) {
  const alt = fill(words.codeAlt, { spelled: spelled(step.code) });
  const yes = button("main", words.confirmYes, () => actions.passkey("confirm"));
  const no = button("link", words.confirmNo, actions.restart);
  const alert = problemLine();
  const text = h("p", { part: "text", class: "muted" });
  const hint = h("p", { class: "muted small" }, words.confirmHint);
  const heading = step.automatic ? words.confirmAutomaticTitle : words.confirmTitle;
  const node = h(
    "section",
    { class: "single" },
    title(heading),
    text,
    codeBoxes(step.code, alt),
    alert.node,
    h("div", { class: "buttons" }, yes, no),
    hint,
  );
  const update = ({ words, step, busy }) => {
    const isDone = step.phase === "confirmed";
    write(text, isDone ? words.confirmedText : words.confirmText);
    busyButton(yes, isDone ? words.confirmBusy : words.confirmYes, isDone || busy);
    yes.parentElement.hidden = step.automatic;
    no.hidden = isDone;
    hint.hidden = isDone;
    alert.update(sayProblem(words, step));
  };
  return { node, update, says: `${heading}. ${alt}` };
}

/** A countdown by the server's clock; `update` returns whether it is over. */
function timeLeft() {
  const node = h("p", { part: "countdown", class: "left", role: "timer" });
  const update = (words, { expiresAt }, now) => {
    const left = Date.parse(expiresAt) - now;
    write(node, Number.isNaN(left) ? "" : left > 0 ? fill(words.passkeyTime, { time: clock(left) }) : words.passkeyOver);
    return left <= 0;
  };
  return { node, update };
}

function sayProblem(words, { problem }) {
  return problem ? whyRefused(words, problem.code) : "";
}
