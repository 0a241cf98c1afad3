// Follows a session with `partysocket`. See docs/clients.md.

import PartySocket from "partysocket/ws";
import WebSocket from "ws"; // Not in a browser, which has its own.
import { SILENCE_MS, isLast, server, session, sleep, token } from "./shared.mjs";

let cursor, watchdog;
let pause = 0;

// Both are asked before each connection.
async function address() {
  await sleep(pause);
  pause = 0;
  const query = cursor ? `?lastEventId=${cursor}` : "";
  return `${server.replace("http", "ws")}/api/sessions/${session}/ws${query}`;
}
const protocols = async () => ["qrcast.v1", `bearer.${await token()}`];

const socket = new PartySocket(address, protocols, { WebSocket });
const isAlive = () => {
  clearTimeout(watchdog);
  watchdog = setTimeout(() => socket.reconnect(), SILENCE_MS);
};
socket.onopen = isAlive;
socket.onmessage = (message) => {
  isAlive();
  const { id, event, data } = JSON.parse(message.data);
  if (event === "drain" && data.code !== "TOKEN_EXPIRED") pause = data.retryAfterMs;
  if (!id) return;
  cursor = id;
  console.log(id, event, data.at);
  // The close code would not do: it says 1000 of connections that failed, too.
  if (isLast(event, data)) {
    clearTimeout(watchdog);
    socket.close();
    console.log("ended");
  }
};
