// What the extension lets through: which pages may be allowed, and which requests are taken from them. Pure: no browser is
// asked anything here. Used by background.js and popup.js, tried in tests/js/extension.test.mjs.

export const WHATSAPP = "https://web.whatsapp.com";

/** What passkeys of WhatsApp belong to. A request for any other is refused, as is one that names none. */
const RP_ID = "whatsapp.com";

/** No request of WhatsApp's is longer, and no passkey waits longer. */
const LONGEST_TEXT = 16_384;
const LONGEST_WAIT_MS = 600_000;

/** Why a request is not carried: a stable word, and a sentence for whoever reads it. */
export class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The options of a request with what they need and nothing else; throws a Refusal. */
export function readOptions(options) {
  const { challenge, rpId, timeout, userVerification, allowCredentials, extensions } = Object(options);
  if (rpId !== RP_ID) {
    throw new Refusal("bad_options", `This extension asks for passkeys of ${RP_ID} only, and the page asked for another.`);
  }
  if (!isBase64(challenge)) throw new Refusal("bad_options", "The page's request has no challenge that can be read.");
  return {
    challenge,
    rpId: RP_ID,
    timeout: timeout > 0 ? Math.min(timeout, LONGEST_WAIT_MS) : LONGEST_WAIT_MS,
    userVerification: ["required", "preferred", "discouraged"].includes(userVerification) ? userVerification : "preferred",
    allowCredentials: (Array.isArray(allowCredentials) ? allowCredentials : []).map(readCredential),
    // Others make the passkey do more than say who it is.
    ...(extensions?.uvm === true && { extensions: { uvm: true } }),
  };
}

function readCredential(credential) {
  const { id, transports } = Object(credential);
  if (!isBase64(id)) throw new Refusal("bad_options", "The page's request names a passkey by an id that cannot be read.");
  const known = Array.isArray(transports) ? transports.filter((transport) => typeof transport === "string") : [];
  return { id, type: "public-key", ...(known.length && { transports: known }) };
}

/** Both alphabets: browsers write base64url, servers not always. */
function isBase64(text) {
  return typeof text === "string" && text.length < LONGEST_TEXT && /^[A-Za-z0-9+/_-]+={0,2}$/.test(text);
}

/** The origin of a page that may be allowed, or `undefined`: WebAuthn and this extension want pages that nobody can forge. */
export function originToAllow(address) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return undefined;
  }
  if (url.origin === WHATSAPP) return undefined;
  const isOwnMachine = url.protocol === "http:" && ["localhost", "127.0.0.1"].includes(url.hostname);
  return url.protocol === "https:" || isOwnMachine ? url.origin : undefined;
}

/**
 * An origin as the browser's permissions name it. Chromium's can name a port; Firefox's cannot, and hold for every port of
 * that host.
 */
export function patternOf(origin, namesPorts) {
  const { protocol, hostname, host } = new URL(origin);
  return `${protocol}//${namesPorts ? host : hostname}/*`;
}

/** The patterns that the person has allowed, out of all that the extension has. */
export function allowedPatterns(origins = []) {
  return origins.filter((pattern) => pattern !== `${WHATSAPP}/*`);
}
