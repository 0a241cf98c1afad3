// Follows a session with `reconnecting-eventsource`. See docs/clients.md.

import { EventSource } from "eventsource"; // Not in a browser, which has its own.
import ReconnectingEventSource from "reconnecting-eventsource";
import { EVENTS, isLast, server, session, sleep, token } from "./shared.mjs";

let cursor, source;

/** It would come back with the token that was refused, for ever, and tell nobody. */
class Watched extends EventSource {
  constructor(address, options) {
    super(address, options);
    this.addEventListener("error", () => this.readyState === EventSource.CLOSED && open(1000 + 2000 * Math.random()));
  }
}

async function open(pause) {
  source?.close();
  await sleep(pause);
  const address = `${server}/api/sessions/${session}/events?token=${encodeURIComponent(await token())}`;
  source = new ReconnectingEventSource(address, { lastEventId: cursor, eventSourceClass: Watched });
  for (const name of EVENTS) {
    source.addEventListener(name, (message) => {
      const data = JSON.parse(message.data);
      cursor = message.lastEventId;
      console.log(cursor, name, data.at);
      // It comes back after a 204, too.
      if (!isLast(name, data)) return;
      source.close();
      console.log("ended");
    });
  }
  source.addEventListener("drain", ({ data }) => JSON.parse(data).code === "TOKEN_EXPIRED" && open(0));
}

open(0);
