// The browser client of qrcast, whole: one import gives `subscribe` and defines `<qrcast-link>`.
//
// A page needs no more than
//   <script type="module" src="https://qrcast.example.com/qrcast.js"></script>
//   <qrcast-link session="SESSION_ID" token="STREAM_TOKEN"></qrcast-link>
// In Node 20 and newer, `import { subscribe } from "./qrcast.js"` works too; there is no element there.
//
// Plain modules, no build step, no dependency. Read them in this order: qrcast/subscribe.js (when to connect, and what
// to do when a stream ends), qrcast/transports.js (WebSocket, SSE, polling), qrcast/api.js (REST and tokens),
// qrcast/link.js (the element), qrcast/step.js (WhatsApp's passkey) and words/en.js (every text that it shows).

import { QrcastLink } from "./qrcast/link.js";

export { subscribe } from "./qrcast/subscribe.js";
export { ApiError } from "./qrcast/api.js";
export { Extension, ExtensionError } from "./qrcast/extension.js";
export { AnswerError, onlyNeeded, readAnswer, snippet } from "./qrcast/passkey.js";
export { english } from "./qrcast/words.js";
export { QrcastLink };

// Loading it twice on a page (two versions, two copies) is not an error: the first one is used.
if (globalThis.customElements && !customElements.get("qrcast-link")) {
  customElements.define("qrcast-link", QrcastLink);
}
