// Everything `<qrcast-link>` says, in one table, and which of it fits a state. Knows no DOM.
//
// Another language is another table: `element.words = { scanTitle: "…" }` replaces what it names.

/** `{name}` is filled in. */
export const english = {
  loadingTitle: "Getting a code from WhatsApp",
  loadingText: "This takes a few seconds.",

  scanTitle: "Scan to link WhatsApp",
  scanStep1: "Open **WhatsApp** on your phone",
  scanStep2: "Tap **Settings** (iPhone) or **⋮** (Android), then **Linked devices**",
  scanStep3: "Tap **Link a device** and point the phone at this code",
  qrAlt: "QR code {attempt} of {maxAttempts} for linking WhatsApp. To link without a camera, use the button “Link with your phone number”.",
  qrAltAlone: "QR code for linking WhatsApp. To link without a camera, use the button “Link with your phone number”.",
  countdown: "New code in {time}",
  countdownLast: "Valid for {time}",
  attempt: "Code {attempt} of {maxAttempts}",
  expired: "Waiting for the next code",
  toPhone: "No camera? Link with your phone number",
  toQr: "Show a QR code instead",

  phoneTitle: "Link with your phone number",
  phoneText: "You get a code here and type it into WhatsApp on your phone. No camera needed.",
  phoneLabel: "Phone number of your WhatsApp account",
  phoneHint: "With the country code, such as +90 555 123 45 67",
  phoneButton: "Get a code",
  phoneBusy: "Asking WhatsApp…",
  phoneWait: "Try again in {time}",

  codeTitle: "Type this code into WhatsApp",
  codeFor: "For {number}",
  codeStep1: "On your phone, open WhatsApp: **Settings** or **⋮**, then **Linked devices**",
  codeStep2: "Tap **Link a device**, then **Link with phone number instead**",
  codeStep3: "Type the code. If the phone calls it wrong, compare it and type it once more",
  codeAlt: "Your code is {spelled}",
  codeCountdown: "Valid for {time}",
  codeExpiredTitle: "This code has expired",
  codeExpiredText: "Nobody entered it in time. A new one takes a few seconds.",
  codeRenew: "Get a new code",
  otherNumber: "Use another number",
  copy: "Copy code",
  copied: "Copied",

  authenticatedTitle: "Scanned. Logging in",
  authenticatedText: "Keep WhatsApp open on your phone for a moment.",
  readyTitle: "Linked",
  readyText: "This account is linked. You can close this page.",
  accountUnnamed: "WhatsApp account",

  passkeyTitle: "Your account asks for a passkey",
  passkeyText: "WhatsApp wants to be sure that it is you. Follow what your phone shows.",

  lostTitle: "Reconnecting to WhatsApp",
  lostText: "The connection was lost. It comes back by itself; your phone stays linked.",
  lostUnlinkedText: "The connection was lost. A new code comes by itself.",
  unreachableTitle: "WhatsApp can’t be reached",
  unreachableText: "WhatsApp does not answer at the moment. We keep trying, at least once a minute; there is nothing you need to do.",

  qr_exhaustedTitle: "The codes have run out",
  qr_exhaustedText: "Nobody scanned in time, so WhatsApp stopped showing codes. Get new ones when your phone is at hand.",
  qr_exhaustedNext: "Show a new code",
  logged_outTitle: "Logged out",
  logged_outText: "This device was removed on the phone. To use it again, link it once more.",
  logged_outNext: "Link again",
  replacedTitle: "Opened elsewhere",
  replacedText: "Another program took over this link, so it was closed here.",
  replacedNext: "Use it here",
  deletedTitle: "This link was removed",
  deletedText: "It was deleted here, and WhatsApp was told to forget the device.",
  bannedTitle: "WhatsApp has blocked this account",
  bannedText: "WhatsApp’s support can say why, in the app under Settings, Help.",
  bannedUntilText: "The block ends {until}. WhatsApp’s support can say why, in the app under Settings, Help.",
  bannedNext: "Try again",
  client_outdatedTitle: "An update is needed",
  client_outdatedText: "WhatsApp no longer takes this version. Whoever runs this service needs to update it.",
  client_outdatedNext: "Try again",
  rejectedTitle: "WhatsApp refused the login",
  rejectedText: "It gave no reason beyond the code {detail}. Trying again may help.",
  rejectedNext: "Try again",
  startOver: "Start over",

  unknownTitle: "This link is not known",
  unknownText: "It may have been removed, or the address is incomplete.",
  refusedTitle: "This link has expired",
  refusedText: "Ask for a new one where you got it.",
  deniedTitle: "This link does not open",
  deniedText: "The address is incomplete, or was made for something else. Ask for a new one where you got it.",
  brokenTitle: "This page can’t go on",
  brokenText: "The server refused the connection ({code}). Reload the page to try again.",

  offline: "Connection to the server lost. Reconnecting…",
  restartFailed: "That did not work: {reason}",

  // Why a pairing failed, by its stable word.
  error_hmac_mismatch: "The phone scanned a code that was not this one. Scan the code shown here.",
  error_signature_mismatch: "The phone’s answer could not be verified. Scan the code once more.",
  error_bad_request: "WhatsApp did not accept this number, or it asked for too many codes. Check the number, or wait a while.",
  error_forbidden: "WhatsApp does not let this number link a device this way. Use the QR code.",
  error_rate_overlimit: "Too many codes were asked for. WhatsApp wants a pause before the next one.",
  error_feature_not_available: "WhatsApp does not offer linking by number for this account. Use the QR code.",
  error_internal_error: "WhatsApp had a problem. Try again in a moment.",
  error_invalid_number: "This is not a complete phone number. Write it with its country code, such as +90 555 123 45 67.",
  error_code_expired: "The code expired before it was entered. Get a new one.",
  error_passkey_refused: "The passkey was not accepted. Try again.",
  error_qr_not_ready: "WhatsApp is not ready yet. Try again in a moment.",
  error_owner_silent: "There was no answer in time. Try again.",
  error_unreachable: "The server can’t be reached. Check your connection and try again.",
  error_rate_limited: "Too many tries in a short time. Wait a little.",
  error_already_connected: "This account is linked already.",
  error_not_allowed: "This page may not do that. Whoever runs this service can.",
  error_token_expired: "This link has expired. Ask for a new one where you got it.",
  error_other: "That did not work ({code}). Try again in a moment.",
};

/** Fills the `{names}` of a sentence; unknown ones stay empty. */
export function fill(sentence, values = {}) {
  return sentence.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** The sentence for a refused pairing or call. Codes of calls are upper case, those of events lower case. */
export function whyRefused(words, code) {
  const sentence = words[`error_${String(code).toLowerCase()}`];
  return sentence ?? fill(words.error_other, { code });
}

/** Seconds as `0:07` or `12:34`. */
export function clock(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** Country codes of one and two digits; all others have three. */
const SHORT_CODES = /^(1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58])/;

/** A JID or digits as a person writes a number: `+90 555 123 45 67`. */
export function phoneNumber(text) {
  const digits = String(text ?? "").split(/[:@]/)[0].replace(/\D/g, "");
  if (digits.length < 7) return digits && `+${digits}`;
  const country = SHORT_CODES.exec(digits)?.[0] ?? digits.slice(0, 3);
  const rest = digits.slice(country.length);
  // In threes; what would be left alone is shared out: 10 digits as 3 3 2 2, and 3 3 4 where the country is 1.
  const alone = rest.length % 3 === 1 && rest.length > 4;
  const threes = (alone ? rest.slice(0, -4) : rest).match(/.{1,3}/g) ?? [];
  const tail = alone ? (country === "1" ? [rest.slice(-4)] : [rest.slice(-4, -2), rest.slice(-2)]) : [];
  return [`+${country}`, ...threes, ...tail].join(" ");
}
