// Follows a session with `@microsoft/fetch-event-source`. See docs/clients.md.

import { fetchEventSource } from "@microsoft/fetch-event-source";
import { server, session, token, watched } from "./shared.mjs";

const ended = new AbortController();
let cursor;

await fetchEventSource(`${server}/api/sessions/${session}/events`, {
  signal: ended.signal,
  // Otherwise it breaks the connection whenever the page is hidden.
  openWhenHidden: true,
  // Its own headers are those of the first try, and its own cursor moves on before an event has come whole.
  async fetch(url, init) {
    const headers = { Accept: "text/event-stream", Authorization: `Bearer ${await token()}` };
    if (cursor) headers["Last-Event-ID"] = cursor;
    const answer = await fetch(url, { ...init, headers });
    return answer.status === 200 ? watched(answer) : answer;
  },
  async onopen({ status }) {
    if (status === 204) ended.abort();
    else if (status !== 200) throw new Error(`status ${status}`);
  },
  onmessage({ id, event, data }) {
    if (!id) return;
    cursor = id;
    console.log(id, event, JSON.parse(data).at);
  },
  // It takes the end of a connection for the end of all.
  onclose() {
    throw new Error("the connection has ended");
  },
});
console.log("ended");
