// Follows one session with qrcast.js in Node and says what it hears, a line of JSON each: `{"event":…}`, `{"state":…}` or
// `{"token":…}`, a newer one.
// With `key` among the options it fetches its tokens by that key, and says `{"asked":true}` each time.
// Run by tests/it/qrcast_js.rs: node follow.mjs BASE_URL SESSION_ID OPTIONS

import { subscribe } from "../../static/qrcast.js";

const [baseUrl, sessionId, options] = process.argv.slice(2);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const { key, ...rest } = JSON.parse(options);
const token = async () => {
  say({ asked: true });
  const headers = { Authorization: `Bearer ${key}` };
  const answer = await fetch(`${baseUrl}/api/sessions/${sessionId}/stream-token`, { method: "POST", headers });
  return (await answer.json()).streamToken;
};
subscribe(sessionId, {
  baseUrl,
  ...(key && { token }),
  ...rest,
  onEvent: (event) => say({ event }),
  onState: (state) => say({ state }),
  onToken: (token) => say({ token }),
});
