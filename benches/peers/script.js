// What the peers have in common: their arguments, their events, and the small language of `examples/scripted.rs` on their
// standard streams.

import { parseArgs } from "node:util";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const { values } = parseArgs({
  options: {
    sessions: { type: "string", default: "1" },
    "per-second": { type: "string", default: "1" },
    len: { type: "string", default: "200" },
  },
});

const sessions = Array.from({ length: Number(values.sessions) }, (_, number) => `session_${number}`);
const pause = 1000 / Number(values["per-second"]);

export { sessions };

/** Listens, names its sessions, and calls `send(session, event)` for as many events as it is told, each session in its turn. */
export function play(server, send) {
  server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, async () => {
    console.log(`listening 127.0.0.1:${server.address().port}`);
    for (const session of sessions) console.log(`session ${session}`);
    console.log("ready");
    let sent = 0;
    for await (const line of createInterface({ input: process.stdin })) {
      const count = Number(line.replace("go ", ""));
      const begin = performance.now();
      for (let number = 0; number < count; number++) {
        await sleep(Math.max(0, begin + number * pause - performance.now()));
        const seq = Math.floor(sent / sessions.length) + 1;
        send(sessions[sent % sessions.length], event(seq));
        sent++;
      }
      console.log(`done ${count}`);
    }
    process.exit();
  });
}

/** As long as the event that it is compared with. */
function event(seq) {
  const event = { id: `1-${seq}`, event: "qr", data: { qrDataUrl: "" } };
  event.data.qrDataUrl = "x".repeat(Math.max(0, Number(values.len) - JSON.stringify(event).length));
  return event;
}
