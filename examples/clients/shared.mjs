// What the recipes for JavaScript in this folder share. Each is run as: node RECIPE.mjs SERVER SESSION_ID TOKEN_URL
// TOKEN_URL is a route of your own back-end. It checks who asks, calls POST /api/sessions/{id}/stream-token with its API key, and
// answers what that answered; or with a 4xx, which ends the recipe. See docs/clients.md.

export const [server, session, tokenUrl] = process.argv.slice(2);

/** A fresh token. Waits until there is one, because most libraries do not come back after an error of their caller's. */
export async function token() {
  for (;;) {
    try {
      const answer = await fetch(tokenUrl);
      if (answer.ok) return (await answer.json()).streamToken;
      if (answer.status < 500) {
        console.error(`no token: status ${answer.status}`);
        process.exit(1);
      }
    } catch {}
    await sleep(1000 + 1000 * Math.random());
  }
}

/** The server says something more often than this; after a longer silence the connection is dead. */
export const SILENCE_MS = 45_000;

/** The same answer, whose body fails after a silence: libraries that read one with fetch would wait for ever. */
export function watched(answer) {
  let timer;
  const arm = (controller) => {
    clearTimeout(timer);
    timer = setTimeout(() => controller.error(new Error("silence")), SILENCE_MS);
  };
  const watch = new TransformStream({
    start: arm,
    transform(chunk, controller) {
      arm(controller);
      controller.enqueue(chunk);
    },
    flush: () => clearTimeout(timer),
  });
  return new Response(answer.body.pipeThrough(watch), answer);
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** An EventSource hears only the events that it is told to listen to. */
export const EVENTS = ["qr", "code", "pairing_error", "passkey", "authenticated", "ready", "disconnected"];

/** Whether nothing comes after this event. */
export function isLast(event, data) {
  return event === "disconnected" && !data.willReconnect && data.reason !== "qr_exhausted";
}
