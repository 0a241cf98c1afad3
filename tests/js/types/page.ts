// What TypeScript knows of the package `qrcast` in a page without a framework. Type-checked by tests/it/package.rs, never run.

import { ApiError, type SessionEvent, subscribe } from "qrcast";

const link = document.querySelector("qrcast-link")!;
link.token = async () => "token";
link.words = { scanTitle: "Scannen" };
link.addEventListener("qrcast-token", ({ detail }) => detail.expiresAt.length);
addEventListener("qrcast-event", ({ detail }) => told(detail));
document.createElement("qrcast-link").addEventListener("click", ({ clientX }) => clientX);

function told(event: SessionEvent): string | null {
  switch (event.event) {
    case "qr":
      return event.data.qrDataUrl;
    case "passkey":
      return event.data.stage === "required" ? event.data.options.challenge : event.data.code;
    case "ready":
      return event.data.me.pushName;
    default:
      // @ts-expect-error: the others have none
      return event.data.me;
  }
}

const following = subscribe("session", {
  baseUrl: new URL("https://qrcast.example.com"),
  transports: ["sse"],
  onState: (state) => {
    if (state.phase === "failed" && state.error instanceof ApiError) state.error.code.length;
    // @ts-expect-error: only a stream that is open has a status
    state.status;
  },
});
following.confirmPasskey().catch((error: ApiError) => error.retryAfterMs);

// @ts-expect-error: no such transport
subscribe("session", { transports: ["pigeon"] });
// @ts-expect-error: no such option
subscribe("session", { onEvents: () => {} });
// @ts-expect-error: it is read only
link.view = "qr";
