// How the server is: its health, alerts, versions, and three charts. `/health` and `/metrics` tell nothing by themselves, so
// they are asked every quarter of a minute; everything else comes with the feed.

import { call } from "./api.js";
import { Chart } from "./charts.js";
import { ago, h, lasting, number, say, short, showFacts, write } from "./dom.js";
import { STATUSES } from "./sessions.js";
import { words } from "./words.js";

const EVERY_MS = 15_000;
const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;

export class ServerView {
  element;
  #sessions;
  #samples = [];
  #minutes = [];
  #alerts = "";
  #mayCount = true;

  constructor(sessions) {
    this.#sessions = sessions;
    this.badge = h("span", { class: "status", "data-health": "unknown" }, h("span", { "aria-hidden": "true" }), h("span", {}, words.server.health.unknown));
    this.line = h("span", { class: "muted small" });
    this.alarm = h("span", { class: "alarm small", hidden: true });
    this.alertList = h("div", { class: "alerts" });
    this.facts = h("dl", { class: "facts" });
    this.legend = h("ul", { class: "legend small" });
    this.byStatus = new Chart(words.server.sessions, { legend: this.legend });
    this.streams = new Chart(words.server.streams);
    this.events = new Chart(words.server.events, { bars: true });
    this.element = h("details", { class: "panel server", open: matchMedia("(min-width: 48rem)").matches },
      h("summary", {}, h("h2", { class: "unseen" }, words.server.title), this.badge, this.line, this.alarm),
      this.alertList, h("div", { class: "figures" }, this.facts, this.byStatus.element, this.streams.element, this.events.element));
    for (const chart of [this.byStatus, this.streams, this.events]) chart.says(words.server.noneYet);
    sessions.addEventListener("event", () => this.#count(1));
    sessions.addEventListener("change", () => this.#firstSample());
  }

  /** From the moment on that the key is known. */
  start(signal) {
    const timer = setInterval(() => this.#look(), EVERY_MS);
    signal.addEventListener("abort", () => clearInterval(timer));
    this.#look();
  }

  async #look() {
    await Promise.all([this.#health(), this.#metrics()]);
    this.#sample();
  }

  // ---- /health -----------------------------------------------------------------------------------------------

  async #health() {
    const health = await readHealth();
    const state = health?.status ?? "unknown";
    this.badge.dataset.health = state;
    write(this.badge.lastElementChild, health ? words.server.health[state] : words.server.failed);
    if (!health) return;
    const { version, whatsapp, replica, uptime, storage, memory, clock: { skewMs }, alerts } = health;
    this.streams.rename(words.server.streamsOf(short(replica)));
    write(this.line, words.server.line(version, whatsapp?.version ?? words.server.noVersion));
    const names = words.server.facts;
    showFacts(this.facts, [
      [names.replica, short(replica)], [names.uptime, lasting(uptime)],
      [names.whatsapp, whatsapp ? words.server.looked(whatsapp.source, whatsapp.ageSeconds !== null && lasting(whatsapp.ageSeconds)) : words.server.noVersion],
      [names.storage, words.server.storage(storage.type, storage.redis_connected)],
      [names.memory, memory.rssBytes ? `${number(Math.round(memory.rssBytes / 2 ** 20))} MB` : words.none],
      ...(skewMs === null ? [] : [[names.clock, words.server.clock(skewMs)]]),
    ]);
    this.#showAlerts(alerts);
  }

  #showAlerts(alerts) {
    const said = alerts.map((alert) => words.server.alert({ ...alert, since: ago(alert.since) }));
    const list = said.length ? [h("ul", {}, said.map((text) => h("li", {}, text))), h("p", { class: "small" }, h("a", { href: "docs/metrics" }, words.server.alertsHint))] : [h("p", { class: "muted small" }, words.server.noAlerts)];
    this.alertList.replaceChildren(...list);
    this.alertList.classList.toggle("bad", said.length > 0);
    this.alarm.hidden = !said.length;
    write(this.alarm, words.server.alerts(said.length));
    const names = alerts.map(({ name }) => name).join();
    // Said when it begins, not every quarter of a minute.
    if (names && names !== this.#alerts) say(`${words.server.alerts(said.length)}. ${said.join(". ")}`);
    this.#alerts = names;
  }

  // ---- figures -----------------------------------------------------------------------------------------------

  async #metrics() {
    this.now = undefined;
    if (!this.#mayCount) return;
    try {
      const text = await call("GET", "/metrics", undefined, { parse: String });
      this.now = [...text.matchAll(/^qrcast_streams\{.*\} (\S+)$/gm)].reduce((sum, [, value]) => sum + Number(value), 0);
    } catch (error) {
      this.#mayCount = error.status !== 403;
      if (!this.#mayCount) this.streams.says(words.server.noStreams);
    }
  }

  #count(events) {
    const minute = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS;
    while ((this.#minutes.at(-1)?.[0] ?? minute - MINUTE_MS) < minute) {
      this.#minutes.push([this.#minutes.length ? this.#minutes.at(-1)[0] + MINUTE_MS : minute, 0]);
    }
    this.#minutes.at(-1)[1] += events;
    while (this.#minutes[0][0] < minute - HOUR_MS) this.#minutes.shift();
  }

  /** The first figures as soon as the list has been read. */
  #firstSample() {
    if (!this.#samples.length) this.#sample();
  }

  #sample() {
    this.#count(0);
    const { state, counts } = this.#sessions;
    // While the list is read for the first time, or could not be, a part of it is no figure.
    if (state !== "done") return;
    const at = Date.now();
    this.#samples.push({ at, counts: { ...counts }, streams: this.now });
    while (this.#samples[0].at < at - HOUR_MS) this.#samples.shift();
    this.#draw();
  }

  #draw() {
    const { counts, rows } = this.#sessions;
    const there = STATUSES.filter((status) => this.#samples.some((sample) => sample.counts[status]));
    const layers = (there.length ? there : ["connected"]).map((status) => ({ kind: status, points: this.#samples.map((sample) => [sample.at, sample.counts[status]]) }));
    this.byStatus.show(layers, rows.size);
    this.legend.replaceChildren(...there.map((status) => h("li", { class: "status", "data-status": status }, h("span", { "aria-hidden": "true" }), `${words.status[status]} ${number(counts[status])}`)));
    const counted = this.#samples.filter(({ streams }) => streams !== undefined);
    if (this.#mayCount && counted.length) this.streams.show([{ points: counted.map(({ at, streams }) => [at, streams]) }], counted.at(-1).streams);
    // The last minute is not over.
    this.events.show([{ points: this.#minutes }], (this.#minutes.at(-2) ?? this.#minutes.at(-1))[1]);
  }
}

/** Everyone may read it, and a 503 is an answer, too: it says what is wrong. Anything else is no answer of the server's. */
async function readHealth() {
  try {
    const options = { cache: "no-store", signal: AbortSignal.timeout(EVERY_MS) };
    const health = await (await fetch(new URL("../health", import.meta.url), options)).json();
    return health.service ? health : undefined;
  } catch {
    return undefined;
  }
}
