// How `<qrcast-link>` draws a session that is cut off, for a while or for good, and one that it may not follow. Views like those
// of views.js, which draws them.

import { account, busyButton, button, helpLine, message, problemLine, startAgain, wayBack } from "./parts.js";
import { fill, moment } from "./words.js";

export const ENDS = { lost, outdated, unreachable, over, refused };

/** Why a stream was refused. */
export function refusalView({ status, code }) {
  if (status === 404 || code === "INVALID_SESSION_ID") return "unknown";
  if (code === "TOKEN_EXPIRED") return "refused";
  if (status === 401 || status === 403) return "denied";
  return code === "SESSION_ENDED" ? "unknown" : "broken";
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
function over({ words, spoken: { lang }, cut, startOver, returnUrl }, actions) {
  const { reason, until, detail } = cut;
  const values = { until: until && moment(until, lang), detail: detail ?? "" };
  const plain = /\D/.test(detail ?? "") ? words.rejectedText : words.rejectedCodeText;
  const text = reason === "banned" && until ? words.bannedUntilText : reason !== "rejected" && words[`${reason}Text`];
  const next = words[`${reason}Next`];
  const again = next && button("main", next, actions.restart);
  const alert = problemLine();
  const others = [startAgain(startOver, words, !next), wayBack(returnUrl, words, "link")];
  const buttons = [alert.node, again, ...others].filter(Boolean);
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

function refused({ words, refusal, startOver, returnUrl }) {
  const kind = refusalView(refusal);
  const buttons = [startAgain(startOver, words, true), wayBack(returnUrl, words, "link")].filter(Boolean);
  return message(words[`${kind}Title`], fill(words[`${kind}Text`], refusal), "stop", buttons, "bad");
}
