// The passkey step without a browser: the text for the console, the answer that is pasted, how the step goes on, and what
// the extension takes. Run with `node --test tests/js/passkey.test.mjs`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { allowedPatterns, originToAllow, patternOf, readOptions } from "../../extension/rules.js";
import { isWhatsApps } from "../../static/qrcast/parts.js";
import { nothingKnown, open as opens, take } from "../../static/qrcast/known.js";
import { PasskeyStep } from "../../static/qrcast/step.js";
import { onlyNeeded, readAnswer, snippet } from "../../static/qrcast/passkey.js";
import { english } from "../../static/qrcast/words.js";

const OPTIONS = { challenge: "AAEC-_8", rpId: "whatsapp.com", timeout: 600000, allowCredentials: [], userVerification: "required", extensions: { uvm: true } };
const base64 = (value) => Buffer.from(value).toString("base64url");
const made = (changes = {}) => base64(JSON.stringify({ type: "webauthn.get", challenge: "AAEC-_8", origin: "https://web.whatsapp.com", ...changes }));
const answer = (changes = {}) => ({
  id: "AQID", rawId: "AQID", type: "public-key",
  response: { clientDataJSON: made(changes), authenticatorData: "BAUG", signature: "BwgJ", userHandle: null },
});

/** Runs the snippet as a console would; what it printed and copied, and what the browser was asked. */
async function runs(options) {
  const seen = {};
  const credential = {
    id: "AQID", rawId: Uint8Array.of(1, 2, 3).buffer, type: "public-key",
    response: {
      clientDataJSON: Buffer.from(made(), "base64url"), authenticatorData: Uint8Array.of(4, 5, 6).buffer,
      signature: Uint8Array.of(251, 255, 254).buffer, userHandle: null,
    },
  };
  const navigator = { credentials: { get: async ({ publicKey }) => ((seen.asked = publicKey), credential) } };
  const console = { log: (text) => (seen.printed = text) };
  await new Function("navigator", "console", "copy", `return ${snippet(options)}`)(navigator, console, (text) => (seen.copied = text));
  return seen;
}

test("the snippet asks for what WhatsApp asked, and what it prints and copies is taken", async () => {
  const seen = await runs({ ...OPTIONS, allowCredentials: [{ type: "public-key", id: "AQID" }] });
  assert.deepEqual([...seen.asked.challenge], [0, 1, 2, 251, 255]);
  assert.deepEqual([...seen.asked.allowCredentials[0].id], [1, 2, 3]);
  assert.equal(seen.asked.rpId, "whatsapp.com");
  for (const text of [seen.copied, seen.printed, JSON.stringify(seen.copied), `'${seen.copied}'\n`]) {
    const { response, ...rest } = readAnswer(text, OPTIONS);
    assert.deepEqual(rest, { id: "AQID", rawId: "AQID", type: "public-key" });
    assert.equal(response.signature, "-__-");
    assert.equal(response.userHandle, null);
  }
});

test("nothing in the options can end the snippet early", async () => {
  const odd = { ...OPTIONS, userVerification: '"); alert(1); ("\u2028</script><!--`${x}' };
  assert.ok(!snippet(odd).includes("<"));
  assert.equal((await runs(odd)).asked.userVerification, odd.userVerification);
});

test("a wrong text is told from a wrong answer, and each has its words", () => {
  const wrong = {
    empty: "  \n",
    snippet: snippet(OPTIONS),
    unreadable: "undefined",
    incomplete: JSON.stringify(answer()).slice(0, -20),
    elsewhere: JSON.stringify(answer({ origin: "https://web.whatsapp.com.example.org" })),
    old: JSON.stringify(answer({ challenge: "AAAA" })),
  };
  for (const [code, text] of Object.entries(wrong)) {
    assert.throws(() => readAnswer(text, OPTIONS), { name: "AnswerError", code }, code);
    assert.ok(english[`error_answer_${code}`], code);
  }
  const without = answer();
  delete without.response.signature;
  assert.throws(() => readAnswer(JSON.stringify(without), OPTIONS), { code: "incomplete" });
  assert.throws(() => readAnswer(JSON.stringify(answer({ type: "webauthn.create" })), OPTIONS), { code: "elsewhere" });
});

test("of a browser's credential only what WhatsApp is sent is left", () => {
  const json = { ...answer(), authenticatorAttachment: "platform", clientExtensionResults: { uvm: [] } };
  assert.deepEqual(onlyNeeded({ toJSON: () => json }), answer());
});

// ---- the step ------------------------------------------------------------------------------------------------------

/** A step, on a page whose extension answers as told. */
function step({ send = async () => {}, confirm = async () => {}, extension } = {}) {
  const listeners = new Set();
  globalThis.location = { origin: "http://server.test" };
  globalThis.window = globalThis;
  globalThis.addEventListener = (_, listener) => listeners.add(listener);
  const hear = (data) => listeners.forEach((listener) => listener({ source: globalThis, origin: location.origin, data }));
  globalThis.postMessage = (data) => {
    if (!extension || data.to !== "qrcast-extension") return;
    if (data.type === "hello") queueMicrotask(() => hear({ from: "qrcast-extension", type: "here" }));
    else extension(data, (result) => hear({ from: "qrcast-extension", type: "answer", id: data.id, ...result }));
  };
  const seen = [];
  const step = new PasskeyStep({ send, confirm, onChange: () => seen.push(step.phase) });
  step.hear({ stage: "required", options: OPTIONS, expiresAt: "2026-01-01T00:10:00.000Z" });
  return { step, seen };
}

test("by the extension: asked, sent, compared, confirmed", async () => {
  const sent = [];
  const { step: open, seen } = step({ send: async (credential) => sent.push(credential), extension: (_, say) => say({ credential: answer() }) });
  await Promise.resolve();
  assert.ok(open.hasExtension);
  await open.useExtension();
  assert.deepEqual(sent, [answer()]);
  open.hear({ stage: "confirmation", code: "ABCD-EFGH", automatic: false });
  assert.equal(open.phase, "confirmation");
  await open.confirm();
  assert.deepEqual(seen, ["required", "asking", "sent", "confirmed"]);
});

test("the same event a second time, and an answer that is slower than the stream, change nothing", async () => {
  let answered;
  const { step: open } = step({ send: () => new Promise((_, reject) => (answered = reject)), extension: (_, say) => say({ credential: answer() }) });
  const going = open.useExtension();
  await new Promise(setImmediate);
  open.hear({ stage: "required", options: OPTIONS, expiresAt: "2026-01-01T00:10:00.000Z" });
  assert.equal(open.phase, "sent");
  open.hear({ stage: "confirmation", code: "ABCD-EFGH", automatic: true });
  answered(Object.assign(new Error("late"), { code: "UNREACHABLE" }));
  await going;
  assert.equal(open.phase, "confirmed");
  open.hear({ stage: "required", options: { ...OPTIONS, challenge: "AAAA" }, expiresAt: "2026-01-01T00:20:00.000Z" });
  assert.deepEqual([open.phase, open.code], ["required", undefined]);
});

test("what went wrong is kept with the step, and it can be tried again", async () => {
  const { step: open } = step({ extension: (_, say) => say({ error: { code: "not_used", message: "no" } }) });
  await open.useExtension();
  assert.deepEqual([open.phase, open.problem.code], ["required", "extension_not_used"]);
  await open.paste("nothing");
  assert.deepEqual([open.phase, open.problem.code], ["required", "answer_unreadable"]);
});

test("whoever cancels takes the question off the screen", async () => {
  const heard = [];
  const { step: open } = step({ extension: (data) => heard.push(data.type) });
  const going = open.useExtension();
  open.stopAsking();
  await going;
  assert.deepEqual(heard, ["ask", "cancel"]);
  assert.deepEqual([open.phase, open.problem], ["required", undefined]);
});

// ---- what is shown around it -----------------------------------------------------------------------------------------

const at = (second) => `2026-01-01T00:00:0${second}.000Z`;

test("a page that comes back during the step shows no QR of before, and goes on with what comes after", () => {
  const known = nothingKnown();
  opens(known, { status: "passkey_required", since: at(3), resumed: true, gap: false, me: null });
  assert.equal(take(known, "qr", { at: at(1) }, 0), false);
  assert.equal(take(known, "qr", { at: at(2) }, 0), false);
  assert.equal(known.status, "passkey_required");
  assert.equal(take(known, "passkey", { at: at(3), stage: "required" }, 0), true);
  // By another clock, after a change of owner: it is news all the same.
  assert.equal(take(known, "pairing_error", { at: at(2), method: "passkey", code: "passkey_expired" }, 0), true);
  assert.deepEqual([known.status, known.problem.code], ["scan_qr", "passkey_expired"]);
});

test("a device that was taken back leaves nothing of itself, and says why until the next one", () => {
  const known = nothingKnown();
  take(known, "authenticated", { at: at(1), me: { id: "1" } }, 0);
  take(known, "pairing_error", { at: at(2), method: "qr", code: "device_removed" }, 0);
  assert.deepEqual([known.status, known.me], ["scan_qr", undefined]);
  take(known, "qr", { at: at(3), qrString: "x" }, 0);
  assert.equal(known.problem.code, "device_removed");
  take(known, "ready", { at: at(4), me: { id: "1" }, incomplete: true, missing: "keys" }, 0);
  assert.deepEqual([known.status, known.problem, known.ready.missing], ["connected", undefined, "keys"]);
});

test("only an address of WhatsApp's is a link", () => {
  for (const help of ["https://faq.whatsapp.com/1", "https://whatsapp.com/x", "https://wa.me/1"]) assert.ok(isWhatsApps(help), help);
  for (const help of [
    "http://faq.whatsapp.com/1", "https://whatsapp.com.example.org/", "https://notwhatsapp.com/", "https://x.wa.me/", "https://wa.me:8443/",
    "https://me@whatsapp.com/", "javascript:alert(1)", "Open WhatsApp on the phone.",
  ]) assert.ok(!isWhatsApps(help), help);
});

test("a link that waits for a newer version is coming back", () => {
  const known = nothingKnown();
  take(known, "disconnected", { at: at(1), reason: "client_outdated", willReconnect: true }, 0);
  assert.equal(known.status, "reconnecting");
  take(known, "disconnected", { at: at(2), reason: "client_outdated", willReconnect: false }, 0);
  assert.equal(known.status, "failed");
});

// ---- the extension's rules -----------------------------------------------------------------------------------------

test("the extension asks for passkeys of whatsapp.com and no others", () => {
  assert.deepEqual(readOptions(OPTIONS), OPTIONS);
  for (const rpId of [undefined, null, "", "example.com", "web.whatsapp.com", "whatsapp.com.", "WHATSAPP.COM", ["whatsapp.com"]]) {
    assert.throws(() => readOptions({ ...OPTIONS, rpId }), { code: "bad_options" }, String(rpId));
  }
  for (const challenge of [undefined, "", "a b", 5, "A".repeat(20_000)]) {
    assert.throws(() => readOptions({ ...OPTIONS, challenge }), { code: "bad_options" });
  }
  assert.throws(() => readOptions(undefined), { code: "bad_options" });
});

test("it leaves out what it need not carry, and waits no longer than WhatsApp", () => {
  const { extensions, timeout, ...rest } = readOptions({
    ...OPTIONS, timeout: 9e9, mediation: "silent", extensions: { uvm: true, prf: { eval: {} }, largeBlob: { write: "AA" } },
  });
  assert.deepEqual(extensions, { uvm: true });
  assert.equal(timeout, 600_000);
  assert.deepEqual(Object.keys(rest), ["challenge", "rpId", "userVerification", "allowCredentials"]);
});

test("pages with a secure address can be allowed, and WhatsApp's own cannot", () => {
  assert.equal(originToAllow("https://app.example.com/link?x#token=y"), "https://app.example.com");
  assert.equal(originToAllow("http://127.0.0.1:3000/"), "http://127.0.0.1:3000");
  for (const address of ["http://app.example.com/", "https://web.whatsapp.com/", "chrome://newtab/", "file:///x.html", "", undefined]) {
    assert.equal(originToAllow(address), undefined, String(address));
  }
  assert.equal(patternOf("http://localhost:3000", true), "http://localhost:3000/*");
  assert.equal(patternOf("http://localhost:3000", false), "http://localhost/*");
  assert.deepEqual(allowedPatterns(["https://web.whatsapp.com/*", "https://a.example/*"]), ["https://a.example/*"]);
});
