// The live page: makes a session (or follows the one in the URL) and shows its QR, then who is linked.

const $ = (id) => document.getElementById(id);
let countdown;

$("start").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  const response = await fetch("/api/init-session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ userId: $("user").value }),
  });
  const answer = await response.json();
  if (!response.ok) {
    $("user").setCustomValidity(answer.error);
    $("user").reportValidity();
    return;
  }
  history.replaceState(null, "", `/?session=${encodeURIComponent(answer.sessionId)}`);
  follow(answer.sessionId);
});
$("user").addEventListener("input", () => $("user").setCustomValidity(""));

const given = new URLSearchParams(location.search).get("session");
if (given) follow(given);

function follow(session) {
  $("start").hidden = true;
  $("session").hidden = false;
  say("Waiting for WhatsApp…");
  const events = new EventSource(`/api/sessions/${encodeURIComponent(session)}/events`);
  const on = (name, tell) => events.addEventListener(name, (event) => tell(JSON.parse(event.data)));
  on("status", (data) => {
    if (data.status === "reconnecting") say("Reconnecting…");
  });
  on("qr", (data) => {
    say("Scan this code with WhatsApp: Settings → Linked devices.");
    $("qr").src = data.qrDataUrl;
    $("qr").hidden = false;
    count(data);
  });
  on("authenticated", () => say("Scanned. Logging in…"));
  on("ready", ({ me }) => say(`Linked: ${me.pushName ?? "account"} (${me.id.split(/[:@]/)[0]})`));
  on("pairing_error", (data) => detail(`That did not work (${data.code}). Try again.`));
  on("disconnected", (data) => {
    say(data.willReconnect ? "Connection lost. Reconnecting…" : `Not linked: ${data.reason.replaceAll("_", " ")}.`);
    if (!data.willReconnect && data.reason !== "qr_exhausted") events.close();
  });
}

function say(text) {
  clearInterval(countdown);
  $("qr").hidden = true;
  $("status").textContent = text;
  detail("");
}

function detail(text) {
  $("detail").textContent = text;
}

function count({ expiresAt, attempt, maxAttempts }) {
  const tick = () => {
    const seconds = Math.max(0, Math.round((Date.parse(expiresAt) - Date.now()) / 1000));
    detail(`Code ${attempt} of ${maxAttempts}, new in ${seconds} s`);
  };
  tick();
  countdown = setInterval(tick, 1000);
}
