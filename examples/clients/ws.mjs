// Follows a session with the package `ws`, or without its import with the WebSocket that browsers and Node 22 bring along.
// See docs/clients.md.

import WebSocket from "ws";
import { SILENCE_MS, server, session, sleep, token } from "./shared.mjs";

let cursor;

/** One connection to its end: the close code, and how long the server wants us to stay away. */
function connect(bearer) {
  return new Promise((resolve) => {
    const query = cursor ? `?lastEventId=${cursor}` : "";
    const address = `${server.replace("http", "ws")}/api/sessions/${session}/ws${query}`;
    const socket = new WebSocket(address, ["qrcast.v1", `bearer.${bearer}`]);
    let pause = 0;
    const done = (code) => {
      clearTimeout(watchdog);
      resolve({ code, pause });
    };
    const hangUp = () => {
      done();
      socket.onmessage = null;
      socket.close();
    };
    let watchdog = setTimeout(hangUp, SILENCE_MS);
    socket.onmessage = (message) => {
      clearTimeout(watchdog);
      watchdog = setTimeout(hangUp, SILENCE_MS);
      const { id, event, data } = JSON.parse(message.data);
      if (event === "drain" && data.code !== "TOKEN_EXPIRED") pause = data.retryAfterMs;
      if (!id) return;
      cursor = id;
      console.log(id, event, data.at);
    };
    socket.onerror = () => done();
    socket.onclose = ({ code }) => done(code);
  });
}

for (let failures = 0; ; failures += 1) {
  const began = Date.now();
  const { code, pause } = await connect(await token());
  if (code === 1000) break;
  if (Date.now() - began > 5000) failures = 0;
  await sleep(pause + Math.random() * Math.min(30_000, 500 * 2 ** failures));
}
console.log("ended");
