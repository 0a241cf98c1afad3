// Follows a session with the package `eventsource`. See docs/clients.md.

import { EventSource } from "eventsource";
import { EVENTS, server, session, token, watched } from "./shared.mjs";

const source = new EventSource(`${server}/api/sessions/${session}/events`, {
  async fetch(url, init) {
    const headers = { ...init.headers, Authorization: `Bearer ${await token()}` };
    const answer = await fetch(url, { ...init, headers });
    // It gives up after a 401 or a proxy's 502, but comes back after an error.
    if (answer.status !== 200 && answer.status !== 204) throw new Error(`status ${answer.status}`);
    return answer.status === 200 ? watched(answer) : answer;
  },
});
for (const name of EVENTS) {
  source.addEventListener(name, ({ lastEventId, data }) => console.log(lastEventId, name, JSON.parse(data).at));
}
source.addEventListener("error", ({ code }) => code === 204 && console.log("ended"));
