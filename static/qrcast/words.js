// Every text of `<qrcast-link>` in one table, and which of them fits a state. Knows no DOM.
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
  incompleteKeysText: "Your phone is offline: open WhatsApp on it so that this device can finish.",
  incompleteSettingsText: "WhatsApp is still sending the account’s settings.",
  accountUnnamed: "WhatsApp account",

  passkeyTitle: "WhatsApp asks for your passkey",
  passkeyText: "Before it links this account, WhatsApp wants proof that it is yours: your passkey, from your phone or your password manager. A passkey of WhatsApp’s works only on WhatsApp’s own pages, so this step goes through web.whatsapp.com on this computer.",
  passkeyTime: "Time left: {time}",
  passkeyOver: "The time is up. You can start again in a moment.",
  passkeyUse: "Use my passkey",
  passkeyUseHint: "A tab of web.whatsapp.com comes to the front and asks you there. If the passkey is on your phone, the browser says how to use it from there.",
  passkeyInstall: "The easy way is the qrcast extension for this browser. If you have it, click it in the browser’s toolbar and allow this page: a button appears here.",
  passkeyWhereFrom: "Whoever runs this page can tell you where to get it.",
  passkeyGet: "Get the extension",
  passkeyNone: "No passkey yet? WhatsApp makes one on your phone, under Settings, Account, Passkeys. Then start over.",
  passkeyStartOver: "Start over with a new code",
  byHand: "By hand, without the extension",
  byHandStep1: "Open **web.whatsapp.com** in another tab of this browser. You need not log in there",
  byHandStep2: "Open its console: press **F12** (on a Mac **⌥⌘I**) and choose **Console**",
  byHandStep3: "Copy the text below, paste it there and press **Enter**. The browser may want you to type **allow pasting** first",
  byHandStep4: "Use your passkey when the browser asks. The answer is then copied: paste it here",
  openWhatsApp: "Open web.whatsapp.com",
  snippetLabel: "Text for the console",
  snippetCopy: "Copy the text",
  snippetCaution: "This text asks for your passkey once, for this link, and sends nothing anywhere. Paste nothing there that somebody else has sent you.",
  answerLabel: "The answer from the console",
  answerSend: "Send the answer",
  passkeyPhoneTitle: "Go on on a computer",
  passkeyPhoneText: "WhatsApp asks for your passkey before it links this account. That cannot be done on a phone alone: it takes WhatsApp’s own page in the browser of a computer.",
  passkeyPhoneStep1: "Open this page on a **computer**",
  passkeyPhoneStep2: "Follow the steps there. Your passkey can stay on this phone: the computer’s browser says how to use it from here",
  passkeyAnyway: "This is a computer",
  passkeyAskingTitle: "Go on in the tab of WhatsApp Web",
  passkeyAskingText: "It is in front now and asks for your passkey. Keep this page open; it goes on by itself.",
  passkeyCancel: "Cancel",
  passkeySentTitle: "Checking your passkey",
  passkeySentText: "WhatsApp looks at it. This takes a few seconds.",
  passkeyUnseenText: "What it asks could not be fetched over this connection. Reload the page, or open it on another network.",
  confirmTitle: "Does your phone show the same code?",
  confirmText: "Look at WhatsApp on your phone and compare.",
  confirmYes: "Yes, it is the same",
  confirmNo: "No, start over",
  confirmHint: "No code on the phone? Open WhatsApp there and wait a moment. If another code is shown, somebody else may be trying to link your account: start over.",
  confirmBusy: "Linking…",
  confirmedText: "Keep WhatsApp open on your phone for a moment.",
  confirmAutomaticTitle: "Linking",

  lostTitle: "Reconnecting to WhatsApp",
  lostText: "The connection was lost. It comes back by itself; your phone stays linked.",
  lostUnlinkedText: "The connection was lost. A new code comes by itself.",
  outdatedTitle: "WhatsApp asks for a newer version",
  outdatedText: "Your phone stays linked. This link comes back by itself as soon as the newer version is known; there is nothing you need to do.",
  unreachableTitle: "WhatsApp can’t be reached",
  unreachableText: "WhatsApp does not answer at the moment. We keep trying, at least once a minute; there is nothing you need to do.",

  qr_exhaustedTitle: "The codes have run out",
  qr_exhaustedText: "Nobody scanned in time, so WhatsApp stopped showing codes. Get new ones when your phone is at hand.",
  qr_exhaustedNext: "Show a new code",
  logged_outTitle: "Logged out",
  logged_outText: "This device was removed on the phone, or the phone was off for two weeks. To use it again, link it once more.",
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
  rejectedCodeText: "It gave no reason beyond the code {detail}. Trying again may help.",
  rejectedText: "What it said: {detail}. Trying again may help.",
  rejectedNext: "Try again",
  startOver: "Start over",
  help: "What WhatsApp says about it",

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

  // Why a pairing failed, by its stable code.
  error_hmac_mismatch: "The phone scanned a code that was not this one. Scan the code shown here.",
  error_signature_mismatch: "The phone’s answer could not be verified. Scan the code once more.",
  error_bad_request: "WhatsApp did not accept this number, or it asked for too many codes. Check the number, or wait a while.",
  error_forbidden: "WhatsApp does not let this number link a device this way. Use the QR code.",
  error_rate_overlimit: "Too many codes were asked for. WhatsApp wants a pause before the next one.",
  error_feature_not_available: "WhatsApp does not offer linking by number for this account. Use the QR code.",
  error_internal_error: "WhatsApp had a problem. Try again in a moment.",
  error_invalid_number: "This is not a complete phone number. Write it with its country code, such as +90 555 123 45 67.",
  error_code_expired: "The code expired before it was entered. Get a new one.",
  error_passkey_refused: "WhatsApp did not accept the passkey. Start again with the new code.",
  error_passkey_expired: "The passkey was not used in time. Start again with the new code.",
  error_device_removed: "WhatsApp took the new device back. Scan the next code.",
  error_no_passkey_step: "WhatsApp no longer waits for this passkey. Wait for the next code.",
  error_invalid_body: "The server could not read this answer. Copy it once more.",
  // Why no passkey came, by the code of the extension or of the field.
  error_extension_declined: "You chose not to use the passkey. You can try again.",
  error_extension_not_used: "The passkey was not used: it was cancelled, it took too long, or no passkey of WhatsApp was found.",
  error_extension_tab_closed: "The tab of WhatsApp Web was closed before the passkey was used. Try again.",
  error_extension_not_loaded: "web.whatsapp.com did not load. Check your connection and try again.",
  error_extension_not_allowed: "The extension is not allowed on this page any more. Click it in the browser’s toolbar and allow the page.",
  error_extension_timeout: "Nobody answered the question in the tab of WhatsApp Web. Try again.",
  error_extension_gone: "The extension was updated or removed. Reload this page.",
  error_answer_empty: "Paste the answer from the console first.",
  error_answer_snippet: "That is the text for the console. Run it on web.whatsapp.com and paste what comes out.",
  error_answer_unreadable: "That is not the answer. It begins with {\"id\" and is the last thing that the console printed.",
  error_answer_incomplete: "A part of the answer is missing. Copy it once more, from the first { to the last }.",
  error_answer_elsewhere: "This answer was not made on web.whatsapp.com, and WhatsApp would not take it. Run the text there.",
  error_answer_old: "This answer belongs to an earlier request. Copy the text below anew and run it once more.",
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
  // Groups of three, without a single digit at the end: 10 digits as 3 3 2 2, or 3 3 4 for country code 1.
  const alone = rest.length % 3 === 1 && rest.length > 4;
  const threes = (alone ? rest.slice(0, -4) : rest).match(/.{1,3}/g) ?? [];
  const tail = alone ? (country === "1" ? [rest.slice(-4)] : [rest.slice(-4, -2), rest.slice(-2)]) : [];
  return [`+${country}`, ...threes, ...tail].join(" ");
}
