// Follows one session with qrcast.js in Node and says what it hears, a line of JSON each: `{"event":…}` or `{"state":…}`.
// Run by tests/it/qrcast_js.rs: node follow.mjs BASE_URL SESSION_ID OPTIONS

import { subscribe } from "../../static/qrcast.js";

const [baseUrl, sessionId, options] = process.argv.slice(2);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
subscribe(sessionId, {
  baseUrl,
  ...JSON.parse(options),
  onEvent: (event) => say({ event }),
  onState: (state) => say({ state }),
});
