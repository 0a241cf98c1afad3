// Small things that every view is made of: elements, times, numbers, and the voice for those who listen.

import { words } from "./words.js";

/** An element. A property that begins with `on` is a listener; one that is undefined, null or false is left out. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** A button that does one thing at a time; it keeps its place and the focus meanwhile. */
export function button(text, properties, pressed) {
  return h("button", {
    type: "button", ...properties,
    onclick: async ({ currentTarget: self }) => {
      if (self.getAttribute("aria-disabled") === "true") return;
      self.setAttribute("aria-disabled", "true");
      try {
        await pressed();
      } finally {
        self.setAttribute("aria-disabled", "false");
      }
    },
  }, text);
}

/** Sets a text only where it is another one: nothing is laid out anew for the same words. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Writes names and values into a `<dl>`; what is there already stays. */
export function showFacts(list, facts) {
  const names = facts.map(([name]) => name).join();
  if (list.dataset.names !== names) {
    list.dataset.names = names;
    list.replaceChildren(...facts.map(([name]) => h("div", {}, h("dt", {}, name), h("dd"))));
  }
  facts.forEach(([, value], index) => write(list.children[index].lastElementChild, value));
}

/** Says something to those who listen. The same words twice are heard twice. */
export function say(text) {
  const voice = document.getElementById("voice");
  voice.textContent = voice.textContent === text ? `${text}\u00a0` : text;
}

// ---- times and numbers -----------------------------------------------------------------------------------------

const WHEN = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const NUMBER = new Intl.NumberFormat("en");

export function when(time) {
  return time ? WHEN.format(new Date(time)) : words.none;
}

export function clock(time) {
  return CLOCK.format(new Date(time));
}

export function number(value) {
  return NUMBER.format(value);
}

/** `5 min`: how long ago. */
export function ago(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  return !time ? "" : seconds < 1 ? words.now : lasting(seconds);
}

/** `5 min`, of seconds. */
export function lasting(seconds) {
  const [size, unit] = [[86_400, "d"], [3_600, "h"], [60, "min"]].find(([size]) => seconds >= size) ?? [1, "s"];
  return `${Math.max(0, Math.floor(seconds / size))} ${unit}`;
}

/** Enough of a replica's name to tell it from the others. */
export function short(replica) {
  return replica?.slice(0, 8) ?? words.none;
}

// ---- a session in words ----------------------------------------------------------------------------------------

/** `+905551112233`, of a JID. */
export function phone(me) {
  const digits = me?.id?.split(/[:@]/)[0];
  return /^\d+$/.test(digits) ? `+${digits}` : "";
}

/** What the account calls itself; nothing where nobody is linked, and empty where its number says enough. */
export function nameOf({ me }) {
  return me ? (me.pushName ?? (phone(me) ? "" : me.id)) : undefined;
}

/** Whether this account's phone lists the session's device. */
export function isLinked({ me, reason }) {
  return Boolean(me) && !["logged_out", "deleted"].includes(reason);
}

/** A word with a dot in its colour, and why. */
export function statusBadge() {
  const [text, reason] = [h("span"), h("span", { class: "muted small" })];
  const badge = h("span", { class: "status" }, h("span", { "aria-hidden": "true" }), text, reason);
  badge.show = (row) => {
    if (badge.dataset.status !== row.status) badge.dataset.status = row.status;
    write(text, words.status[row.status] ?? row.status);
    write(reason, row.reason?.replaceAll("_", " ") ?? "");
  };
  return badge;
}

/** What an error means, and what to do. */
export function why(error) {
  const wait = error.retryAfterMs ? words.waitFor(Math.ceil(error.retryAfterMs / 1000)) : words.waitAWhile;
  if (error.cause?.name === "TimeoutError") return words.errors.silent;
  if (error.code === "UNREACHABLE") return words.errors.unreachable;
  if (error.status === 403) return words.errors.forbidden;
  if (error.code === "SESSION_LIMIT") return `${words.errors.sessionLimit} ${wait}`;
  if (error.status === 429) return `${words.errors.limited} ${wait}`;
  if (error.status === 404) return words.errors.gone;
  if (error.status === 410) return words.errors.ended;
  if (error.status >= 500) return `${words.errors.server} ${wait}`;
  return error.message;
}

/** A card in place of what is not there: what happened, and what to do. */
export function notice({ title, text, kind = "", heading = "h3", children = [] }) {
  return h("div", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : undefined }, h(heading, {}, title), h("p", { class: "muted" }, text), ...children);
}
