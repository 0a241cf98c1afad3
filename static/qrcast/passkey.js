// WhatsApp's request for a passkey without the extension: the text that a person runs in the console of
// web.whatsapp.com, and the check of the answer that they paste. Knows no DOM and no server. Called by link.js,
// views.js, and other people's pages.

import { onlyNeeded } from "./api.js";

export { onlyNeeded };

/** The origins of WhatsApp's pages; its passkeys work nowhere else. */
const WHATSAPP = /^https:\/\/([a-z0-9-]+\.)*whatsapp\.com$/;

/** A pasted text that is not an answer. `code` is one of `empty`, `snippet`, `unreadable`, `incomplete`, `elsewhere`, `old`. */
export class AnswerError extends Error {
  constructor(code) {
    super(`the answer is ${code}`);
    this.name = "AnswerError";
    this.code = code;
  }
}

/**
 * What to run in the console of web.whatsapp.com: it uses the passkey there, then copies and prints the answer. It sends
 * nothing anywhere. `options` are those of the event `passkey`.
 */
export function snippet(options) {
  // What the server sends cannot end the text early or hide code in it: it is JSON, and the characters that HTML or a
  // line break could use are escaped as well.
  const json = JSON.stringify(options).replace(/[<\u2028\u2029]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return `(async (options, put) => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\\+/g, "-").replace(/\\//g, "_").replace(/=+$/, "");
  options.challenge = bytes(options.challenge);
  options.allowCredentials = (options.allowCredentials ?? []).map((one) => ({ ...one, id: bytes(one.id) }));
  const { id, rawId, type, response: r } = await navigator.credentials.get({ publicKey: options });
  const answer = JSON.stringify({ id, rawId: text(rawId), type, response: {
    clientDataJSON: text(r.clientDataJSON), authenticatorData: text(r.authenticatorData), signature: text(r.signature),
    userHandle: r.userHandle ? text(r.userHandle) : null } });
  put?.(answer);
  console.log("Copy this answer to the page that you came from:\\n" + answer);
  return answer;
})(${json}, typeof copy === "function" ? copy : undefined);`;
}

/** The credential in a text that a person pasted, as the answer to these options; throws an AnswerError. */
export function readAnswer(pasted, options) {
  const text = String(pasted ?? "").trim();
  if (!text) throw new AnswerError("empty");
  if (text.includes("navigator.credentials.get")) throw new AnswerError("snippet");
  const credential = onlyNeeded(fromJson(text));
  const { id, rawId, type, response } = credential;
  const { userHandle, ...needed } = response;
  const isWhole = [id, rawId, ...Object.values(needed)].every(isBase64) && type === "public-key";
  if (!isWhole || (userHandle !== null && !isBase64(userHandle))) throw new AnswerError("incomplete");
  const made = clientData(response.clientDataJSON);
  if (made?.type !== "webauthn.get" || !WHATSAPP.test(made.origin)) throw new AnswerError("elsewhere");
  if (plain(made.challenge) !== plain(options?.challenge)) throw new AnswerError("old");
  return credential;
}

/** A console prints a text in quotes, and people copy a line more than they need. */
function fromJson(text) {
  const from = text.indexOf("{");
  const to = text.lastIndexOf("}");
  const inner = text.slice(from, to + 1);
  for (const candidate of [inner, inner.replace(/\\(["\\/])/g, "$1")]) {
    try {
      return JSON.parse(candidate);
    } catch {
      // Another part of the text may be the answer.
    }
  }
  throw new AnswerError(from >= 0 && text.includes('"rawId"') ? "incomplete" : "unreadable");
}

function clientData(base64) {
  try {
    return JSON.parse(atob(base64.replace(/-/g, "+").replace(/_/g, "/")));
  } catch {
    return undefined;
  }
}

function isBase64(text) {
  return typeof text === "string" && /^[A-Za-z0-9+/_-]+={0,2}$/.test(text);
}

/** One alphabet, no padding. */
function plain(base64) {
  return String(base64 ?? "").replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
