// One session: where it stands, what can be done with it, its QR, its log as a time line, its webhooks. Nothing of it is
// polled but its viewers, which no event tells; the rest comes with the feed.

import "../qrcast.js";
import { OPEN } from "../key.js";
import { call, of } from "./api.js";
import { confirm } from "./dialogs.js";
import { ago, button, clock, h, isLinked, nameOf, notice, number, phone, say, showFacts, statusBadge, when, why, write } from "./dom.js";
import { isAfter } from "./sessions.js";
import { words } from "./words.js";

const one = words.one;
/** The viewers of the list are up to 10 s old. */
const EVERY_MS = 15_000;
/** So many events of the log are shown at first. */
const FIRST = 50;

export class SessionView {
  element = h("section", { class: "one", hidden: true, "aria-labelledby": "one-title" });
  id;
  #sessions;
  #row;
  #log = [];
  #whole = false;
  /** So many events at the end of the log are not on the page yet. */
  #toDraw = 0;
  #timer;

  constructor(sessions) {
    this.#sessions = sessions;
    sessions.addEventListener("change", () => this.#drawFacts());
    sessions.addEventListener("event", ({ detail }) => this.#hear(detail));
  }

  async show(id, { qr = false } = {}) {
    this.hide();
    this.id = id;
    this.element.hidden = false;
    this.title = h("h2", { id: "one-title", tabindex: "-1" }, one.loading);
    this.element.replaceChildren(h("a", { href: "#", class: "back" }, one.back), this.title);
    this.title.focus();
    try {
      const row = await this.#sessions.refresh(id);
      if (this.id !== id) return;
      this.#build(row, qr);
    } catch (error) {
      if (this.id !== id) return;
      const gone = [400, 404].includes(error.status);
      write(this.title, gone ? one.gone.title : one.failed);
      this.element.append(notice({ title: "", text: gone ? one.gone.text : why(error), children: gone ? [] : [button(words.again, {}, () => this.show(id, { qr }))] }));
    }
  }

  hide() {
    clearInterval(this.#timer);
    this.id = undefined;
    this.#row = undefined;
    this.element.hidden = true;
    // Its stream ends with the element.
    this.element.replaceChildren();
  }

  /** The feed was away: what happened meanwhile is in the log. */
  again() {
    if (!this.#row) return;
    this.#readLog();
    this.#readWebhooks();
  }

  #build(row, qr) {
    this.#row = row;
    [this.#log, this.#whole, this.#toDraw, this.timeline] = [[], false, 0, undefined];
    write(this.title, row.user);
    this.badge = statusBadge();
    this.said = row.status;
    this.facts = h("dl", { class: "facts" });
    this.qrButton = button(one.showQr, { "aria-expanded": "false" }, () => this.#toggleQr());
    this.linkButton = button(one.link, { class: "quiet" }, () => this.#makeLink());
    this.restartButton = button(one.restart, { class: "quiet" }, () => this.#restart());
    this.removeButton = button(one.logout, { class: "quiet danger" }, () => this.#remove());
    this.problem = h("p", { class: "problem", role: "alert", hidden: true });
    this.made = h("div", { hidden: true });
    this.qr = h("div", { class: "panel qr", hidden: true });
    this.log = h("div", {});
    this.webhooks = h("div", {});
    this.element.append(h("div", { class: "bar" }, this.badge, h("div", { class: "bar end" }, this.qrButton, this.linkButton, this.restartButton, this.removeButton)),
      this.problem, this.made, this.qr, h("div", { class: "panel" }, this.facts),
      h("div", { class: "panel" }, h("h3", {}, one.log), this.log), h("div", { class: "panel" }, h("h3", {}, one.webhooks), this.webhooks));
    this.#drawFacts();
    if (qr) this.#toggleQr();
    this.again();
    this.#timer = setInterval(() => document.hidden || this.#sessions.refresh(this.id).catch(() => {}), EVERY_MS);
  }

  // ---- where it stands ---------------------------------------------------------------------------------------

  #drawFacts() {
    const row = this.#row;
    if (!row || (row.version === this.version && row.id === this.drawn)) return;
    [this.version, this.drawn] = [row.version, row.id];
    if (this.said !== row.status) say(`${row.user}: ${words.status[row.status]}`);
    this.said = row.status;
    this.badge.show(row);
    const names = one.facts;
    const facts = [
      [names.linked, row.me ? [nameOf(row), phone(row.me), row.me.platform].filter(Boolean).join(" · ") + (!isLinked(row) ? ` (${one.noLonger})` : row.incomplete ? ` (${one.incomplete})` : "") : one.nobody],
      [names.since, row.since && `${when(row.since)} (${ago(row.since)})`],
      [names.connected, row.connectedAt && when(row.connectedAt)],
      [names.why, row.reason && [row.reason, row.detail, row.help].filter(Boolean).join(" · ")],
      [names.owner, row.owner ?? words.none], [names.viewers, row.viewers === undefined ? words.none : number(row.viewers)],
      [names.metadata, row.metadata && JSON.stringify(row.metadata)], [names.id, row.id],
    ].filter(([, value]) => value);
    showFacts(this.facts, facts);
    const deleted = row.reason === "deleted";
    this.restartButton.hidden = this.removeButton.hidden = deleted;
    // A linked session has no QR; one that was linked right here still shows who it is.
    this.linkButton.hidden = deleted || isLinked(row);
    this.qrButton.hidden = deleted || (isLinked(row) && this.qr.hidden);
    write(this.removeButton, isLinked(row) ? one.logout : one.remove);
  }

  // ---- what can be done --------------------------------------------------------------------------------------

  async #toggleQr() {
    const shown = this.qr.hidden;
    this.qr.hidden = !shown;
    this.qrButton.setAttribute("aria-expanded", String(shown));
    write(this.qrButton, shown ? one.hideQr : one.showQr);
    const { id } = this;
    const link = document.createElement("qrcast-link");
    link.token = OPEN ? undefined : async () => (await call("POST", of(id, "/stream-token"), {})).streamToken;
    link.restart = () => call("POST", of(id, "/restart"));
    link.setAttribute("session", id);
    this.qr.replaceChildren(...(shown ? [link] : []));
  }

  #makeLink() {
    return this.#try(async () => {
      const { streamToken, streamTokenExpiresAt } = await call("POST", of(this.id, "/stream-token"), {});
      const address = new URL(`./?session=${encodeURIComponent(this.id)}#token=${encodeURIComponent(streamToken)}`, location.href).href;
      const field = h("input", { id: "link-address", readonly: true, value: address, "aria-describedby": "link-until" });
      // Only pages over HTTPS, or of this machine, have a clipboard.
      const copied = await (navigator.clipboard?.writeText(address).then(() => true, () => false) ?? false);
      this.made.replaceChildren(h("label", { for: "link-address" }, one.linkLabel), field, h("p", { id: "link-until", class: "muted small" }, one.linkUntil(clock(streamTokenExpiresAt), copied)));
      this.made.hidden = false;
      field.select();
    });
  }

  async #restart() {
    if (isLinked(this.#row) && !(await confirm(one.restartSure))) return;
    await this.#try(async () => {
      await call("POST", of(this.id, "/restart"));
      say(one.restarted);
      await this.#sessions.refresh(this.id);
    });
  }

  async #remove() {
    const linked = isLinked(this.#row);
    if (!(await confirm({ ...(linked ? one.logoutSure(nameOf(this.#row) || phone(this.#row.me)) : one.removeSure), danger: true }))) return;
    await this.#try(async () => {
      await call("DELETE", of(this.id));
      say(one.removed);
      if (!this.qr.hidden) this.#toggleQr();
      await this.#sessions.refresh(this.id);
      this.title.focus();
    });
  }

  /** Does something, and says why it did not work. */
  async #try(what) {
    this.problem.hidden = true;
    try {
      await what();
    } catch (error) {
      this.problem.textContent = why(error);
      this.problem.hidden = false;
    }
  }

  // ---- the log -----------------------------------------------------------------------------------------------

  async #readLog() {
    const { id } = this;
    try {
      const { events } = await call("GET", of(id, "/log"));
      if (this.id !== id) return;
      // What the feed told meanwhile is newer.
      const last = events.at(-1)?.id;
      this.#log = [...events.map(({ event, data }) => [event, data]), ...this.#log.filter(([, data]) => isAfter(data.id, last))];
      this.#drawLog();
    } catch (error) {
      // What was seen of a session that was deleted meanwhile stays.
      if (this.id === id && error.status === 410) return this.#drawLog();
      this.timeline = undefined;
      if (this.id === id) this.log.replaceChildren(notice({ title: one.logFailed, text: why(error), kind: "bad", children: [button(words.again, {}, () => this.#readLog())] }));
    }
  }

  #hear([name, data]) {
    if (!this.#row || data.sessionId !== this.id || !isAfter(data.id, this.#log.at(-1)?.[1].id)) return;
    this.#log.push([name, data]);
    // Events come by the hundred: those that are not drawn yet are drawn together.
    this.#toDraw += 1;
    if (this.#toDraw === 1) requestAnimationFrame(() => this.#drawNews());
  }

  #drawLog() {
    this.#toDraw = 0;
    this.timeline = undefined;
    if (!this.#log.length) return this.log.replaceChildren(h("p", { class: "muted" }, this.#row.reason === "deleted" ? one.logGone : one.logEmpty));
    const shown = this.#whole ? this.#log : this.#log.slice(-FIRST);
    this.timeline = h("ol", { class: "timeline", reversed: true }, shown.map(moment).reverse());
    this.hint = h("p", { class: "muted small" });
    this.older = button("", { class: "link" }, () => this.#drawOlder());
    this.log.replaceChildren(this.hint, this.timeline, this.older);
    this.#showLength();
  }

  /** Adds what came, and lets go of what is no longer among the first: the rest of the list stays as it is. */
  #drawNews() {
    const news = this.#toDraw;
    if (!this.#row || !news) return;
    if (!this.timeline) return this.#drawLog();
    this.#toDraw = 0;
    this.timeline.prepend(...this.#log.slice(-news).slice(-FIRST).map(moment).reverse());
    while (!this.#whole && this.timeline.childElementCount > FIRST) this.timeline.lastElementChild.remove();
    this.#showLength();
  }

  /** The button goes, and the keyboard goes on where it was. */
  #drawOlder() {
    const last = this.timeline.lastElementChild;
    this.#whole = true;
    this.timeline.append(...this.#log.slice(0, -this.timeline.childElementCount).map(moment).reverse());
    this.#showLength();
    last.nextElementSibling?.setAttribute("tabindex", "-1");
    last.nextElementSibling?.focus();
  }

  #showLength() {
    const hidden = this.#log.length - this.timeline.childElementCount;
    this.older.hidden = hidden <= 0;
    write(this.older, one.older(hidden));
    write(this.hint, one.logHint(this.#log.length));
  }

  // ---- its webhooks ------------------------------------------------------------------------------------------

  async #readWebhooks() {
    const { id } = this;
    try {
      const { receivers } = await call("GET", `/api/webhooks?sessionId=${encodeURIComponent(id)}`);
      if (this.id !== id) return;
      const focused = this.webhooks.contains(document.activeElement) ? document.activeElement.tagName.toLowerCase() : undefined;
      if (!receivers.length) return this.webhooks.replaceChildren(h("p", { class: "muted" }, one.webhooksEmpty));
      this.from = h("select", { id: "resend-from", onpointerdown: () => this.#drawResend(), onfocus: () => this.#drawResend() });
      this.resent = h("p", { class: "muted small", role: "status" });
      const resend = button(one.resend, { class: "quiet" }, () => this.#resend());
      this.webhooks.replaceChildren(h("ul", { class: "receivers" }, receivers.map(receiver)), h("div", { class: "bar tools" }, h("label", { for: "resend-from" }, one.resendFrom), this.from, resend), this.resent);
      this.from.append(h("option", { value: "0-0" }, one.resendAll));
      // What had the keyboard was replaced by the same.
      if (focused) this.webhooks.querySelector(focused)?.focus();
    } catch (error) {
      if (this.id === id) this.webhooks.replaceChildren(notice({ title: one.webhooksFailed, text: why(error), kind: "bad", children: [button(words.again, {}, () => this.#readWebhooks())] }));
    }
  }

  /** Every event of the log, when somebody is about to choose one: they are too many to be drawn with each that comes. */
  #drawResend() {
    // Not under the hand of somebody who chooses.
    if (document.activeElement === this.from && this.from.childElementCount > 1) return;
    const option = ([name, data]) => h("option", { value: data.id }, `${when(data.at)} · ${words.events[name]?.(data)[0] ?? name}`);
    const { value } = this.from;
    this.from.replaceChildren(h("option", { value: "0-0" }, one.resendAll), ...this.#log.slice(0, -1).map(option).reverse());
    if (value) this.from.value = value;
  }

  #resend() {
    return this.#try(async () => {
      const { receivers } = await call("POST", "/api/webhooks/resend", { sessionId: this.id, after: this.from.value });
      const said = one.resent(receivers);
      await this.#readWebhooks();
      write(this.resent, said);
    });
  }
}

/** One event of the time line. */
function moment([name, data]) {
  const [title, detail] = words.events[name]?.(data) ?? [name, ""];
  return h("li", { "data-event": name }, h("time", { datetime: data.at, title: data.id }, when(data.at)), h("strong", {}, title), h("span", { class: "muted" }, detail));
}

function receiver({ url, shared, state, lastError, lastDeliveryAt, nextTryAt, waiting, lost }) {
  const facts = [
    shared ? one.shared : one.own, waiting > 0 && one.waiting(waiting), lost > 0 && one.lost(lost), state !== "ok" && lastError,
    lastDeliveryAt && one.delivered(when(lastDeliveryAt)), nextTryAt && one.next(when(nextTryAt)),
  ];
  return h("li", {}, h("code", {}, url), h("span", { class: "status", "data-health": { ok: "healthy", failing: "degraded", gone: "unhealthy" }[state] }, h("span", { "aria-hidden": "true" }), one.webhookState[state] ?? state),
    h("span", { class: "muted small" }, facts.filter(Boolean).join(" · ")));
}
