// The list of sessions: search, filter, and a grid that has elements for the rows on the screen only. The page scrolls, not
// the grid. One link of it is in the order of Tab; the arrow keys, Home, End and the page keys go to the others.

import { ago, button, h, isLinked, nameOf, number, phone, say, short, statusBadge, why, write, clock, notice } from "./dom.js";
import { STATUSES } from "./sessions.js";
import { words } from "./words.js";

/** Rows beyond the edges of the screen, for a quick finger. */
const SPARE = 6;
/** How often the filter is asked again while events come. */
const REFILTER_MS = 250;
/** How often `5 min` is looked at. */
const TICK_MS = 10_000;
/** How long somebody who types is waited for before the number of matches is said. */
const SAY_AFTER_MS = 800;

export class List {
  element;
  #sessions;
  #filter = { query: "", status: "", latest: false };
  #found = [];
  #drawn = new Map();
  #active;
  #drawing = false;
  #filterAt = 0;
  #later;
  #saying;
  #narrow = matchMedia("(max-width: 47.99rem)");

  constructor(sessions, { create, signal }) {
    this.#sessions = sessions;
    this.#build(create);
    sessions.addEventListener("change", () => this.#refilter());
    for (const name of ["scroll", "resize"]) addEventListener(name, () => this.#draw(), { passive: true, signal });
    const timer = setInterval(() => this.#draw(true), TICK_MS);
    signal.addEventListener("abort", () => clearInterval(timer));
  }

  /** After it was out of sight. */
  shown() {
    this.#refilter(true);
  }

  #build(create) {
    this.search = h("input", {
      id: "search", type: "search", autocomplete: "off", autocapitalize: "none", spellcheck: "false",
      placeholder: words.list.searchHint, "aria-label": words.list.search,
      oninput: () => this.#choose({ query: this.search.value.trim() }),
    });
    this.order = h("select", { "aria-label": words.list.order, onchange: () => this.#choose({ latest: this.order.value === "latest" }) },
      h("option", { value: "user" }, words.list.byUser), h("option", { value: "latest" }, words.list.byLatest));
    this.chips = h("fieldset", { class: "chips" }, h("legend", { class: "unseen" }, words.list.filter), ["", ...STATUSES].map((status) => this.#chip(status)));
    this.count = h("p", { class: "muted small" });
    this.body = h("div", { role: "rowgroup", class: "rows" });
    const head = h("div", { role: "row", class: "row head", "aria-rowindex": "1" },
      Object.entries(words.list.columns).map(([name, text]) => h("div", { role: "columnheader", class: name }, text)));
    this.grid = h("div", { role: "grid", class: "grid", "aria-label": words.list.title, "aria-readonly": "true", onkeydown: (event) => this.#press(event), onfocusin: (event) => this.#focused(event) },
      h("div", { role: "rowgroup", class: "heads" }, head), this.body);
    this.void = h("div", { class: "void" });
    this.element = h("section", { "aria-labelledby": "list-title" },
      h("div", { class: "bar" }, h("h2", { id: "list-title", tabindex: "-1" }, words.list.title),
        button(words.list.create, { id: "new" }, create)),
      h("div", { class: "bar tools" }, this.search, this.order), this.chips,
      h("div", { class: "bar" }, this.count, button(words.list.refresh, { class: "link small" }, () => this.#sessions.load())),
      this.void, this.grid);
  }

  #chip(status) {
    const count = h("span", { class: "muted" });
    const input = h("input", { type: "radio", name: "status", value: status, checked: status === "", onchange: () => this.#choose({ status }) });
    const chip = h("label", {}, input, status ? h("span", { class: "status", "data-status": status }, h("span", { "aria-hidden": "true" })) : "", words.status[status] ?? words.list.all, " ", count);
    chip.show = (many) => {
      write(count, number(many));
      chip.hidden = status !== "" && many === 0 && !input.checked;
    };
    return chip;
  }

  // ---- what is found -----------------------------------------------------------------------------------------

  #choose(change) {
    Object.assign(this.#filter, change);
    this.#refilter(true);
    clearTimeout(this.#saying);
    this.#saying = setTimeout(() => say(words.list.matches(this.#found.length)), SAY_AFTER_MS);
  }

  clear() {
    this.search.value = "";
    this.chips.querySelector("input").checked = true;
    this.#choose({ query: "", status: "" });
    this.search.focus();
  }

  /** At once, or with the next change after a moment: events come by the hundred. */
  #refilter(now = false) {
    if (!this.element.isConnected || this.element.hidden) return;
    const wait = this.#filterAt + REFILTER_MS - performance.now();
    if (!now && wait > 0) {
      this.#later ??= setTimeout(() => this.#refilter(true), wait);
      return this.#draw();
    }
    clearTimeout(this.#later);
    this.#later = undefined;
    this.#filterAt = performance.now();
    this.#found = this.#sessions.view(this.#filter);
    this.#showCounts();
    this.#draw();
  }

  #showCounts() {
    const { rows, counts, state, readAt } = this.#sessions;
    const [all, found] = [rows.size, this.#found.length];
    [...this.chips.querySelectorAll("label")].forEach((chip, index) => chip.show(index ? counts[STATUSES[index - 1]] : all));
    write(this.count, state === "waiting" ? "" : state === "loading" ? words.list.reading(number(all)) : words.list.counted(number(found), number(all), readAt && clock(readAt)));
    this.grid.setAttribute("aria-rowcount", String(found + 1));
    this.grid.setAttribute("aria-busy", String(state === "loading"));
    const reading = ["waiting", "loading"].includes(state);
    const shown = found ? "rows" : all ? "nothing" : reading ? "loading" : state !== "done" ? "error" : "empty";
    // A list that is old is better than none.
    const kind = state instanceof Error && found ? "error" : shown;
    if (this.void.dataset.kind !== kind || kind === "error") this.#showVoid(kind, state);
    this.grid.hidden = shown !== "rows";
  }

  #showVoid(kind, state) {
    // The button that somebody just pressed stays where it is.
    if (this.void.dataset.kind === kind && this.void.error === state) return;
    this.void.error = state;
    this.void.dataset.kind = kind;
    const again = () => button(words.again, {}, () => this.#sessions.load());
    const make = {
      rows: () => [],
      loading: () => [h("div", { class: "skeleton", "aria-hidden": "true" }, ...Array.from({ length: 6 }, () => h("div")))],
      error: () => [notice({ title: words.list.failed, text: why(state), kind: "bad", children: [again()] })],
      nothing: () => [notice({ ...words.list.nothing, children: [button(words.list.clear, {}, () => this.clear())] })],
      empty: () => [notice(words.list.empty)],
    };
    this.void.replaceChildren(...make[kind]());
  }

  // ---- the rows on the screen --------------------------------------------------------------------------------

  #draw(all = false) {
    this.redraws ||= all;
    if (this.#drawing || this.grid.hidden || !this.grid.isConnected) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#drawNow();
    });
  }

  get #height() {
    return this.#narrow.matches ? 104 : 56;
  }

  #drawNow() {
    const [height, many] = [this.#height, this.#found.length];
    const top = -this.body.getBoundingClientRect().top;
    const from = Math.max(0, Math.floor(top / height) - SPARE);
    const to = Math.min(many, Math.ceil((top + innerHeight) / height) + SPARE);
    const rows = new Map(this.#found.slice(from, to).map((row, index) => [row.id, from + index]));
    this.#keepActive(rows);
    const size = `${many * height}px`;
    if (this.body.style.blockSize !== size) this.body.style.blockSize = size;
    // Elements of rows that have left the screen show those that come: a quick scroll lays out no new ones.
    const free = [...this.#drawn.keys()].filter((id) => !rows.has(id));
    for (const [id, index] of rows) {
      let drawn = this.#drawn.get(id);
      if (!drawn) {
        const old = free.pop();
        drawn = this.#drawn.get(old) ?? this.#added(new Row());
        this.#drawn.delete(old);
        this.#drawn.set(id, drawn);
      }
      drawn.place(index, height);
      drawn.draw(this.#sessions.rows.get(id), id === this.#active, this.redraws);
    }
    for (const id of free) {
      this.#drawn.get(id).element.remove();
      this.#drawn.delete(id);
    }
    this.redraws = false;
  }

  #added(row) {
    this.body.append(row.element);
    return row;
  }

  /** The row that the keyboard is at is drawn wherever it is. When it is gone, its neighbour takes its place. */
  #keepActive(rows) {
    const had = this.body.contains(document.activeElement);
    let index = this.#found.findIndex((row) => row.id === this.#active);
    if (index < 0) {
      index = Math.min(this.#activeIndex ?? 0, this.#found.length - 1);
      this.#active = this.#found[index]?.id;
      if (had && this.#active) queueMicrotask(() => this.#drawn.get(this.#active)?.link.focus({ preventScroll: true }));
    }
    this.#activeIndex = Math.max(0, index);
    if (this.#active) rows.set(this.#active, index);
  }
  #activeIndex;

  // ---- the keyboard ------------------------------------------------------------------------------------------

  #focused({ target }) {
    const row = target.closest("[data-id]");
    if (!row || row.dataset.id === this.#active) return;
    this.#active = row.dataset.id;
    this.#draw();
  }

  #press(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const last = this.#found.length - 1;
    const page = Math.max(1, Math.floor(innerHeight / this.#height) - 2);
    const at = Math.max(0, this.#found.findIndex((row) => row.id === this.#active));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: last, PageDown: at + page, PageUp: at - page }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.#go(Math.min(last, Math.max(0, to)));
  }

  #go(index) {
    this.#active = this.#found[index].id;
    const start = this.body.getBoundingClientRect().top + index * this.#height;
    const room = this.#narrow.matches ? 0 : this.#height;
    if (start < room) scrollBy(0, start - room);
    else if (start + this.#height > innerHeight) scrollBy(0, start + this.#height - innerHeight);
    this.#drawNow();
    this.#drawn.get(this.#active).link.focus({ preventScroll: true });
  }

  /** Puts the focus where it was before one session was looked at. */
  focus(id) {
    const index = this.#found.findIndex((row) => row.id === id);
    if (index >= 0) this.#go(index);
    else this.element.querySelector("h2").focus();
  }
}

/** The elements of a row, for one session after the other. */
class Row {
  #row;
  #version;
  #place;
  #cells;

  constructor() {
    const cell = (name, ...children) => h("div", { role: "gridcell", class: name }, ...children);
    this.link = h("a", { tabindex: "-1" });
    this.badge = statusBadge();
    const [since, name, digits, owner, viewers] = [h("time"), h("span"), h("span", { class: "muted small" }), h("span"), h("span")];
    this.#cells = { since, name, digits, owner, viewers };
    this.element = h("div", { role: "row", class: "row" }, cell("user", this.link), cell("state", this.badge), cell("linked", name, " ", digits),
      cell("since", since), cell("owner", owner), cell("viewers", viewers));
    // A click anywhere on the row is one on its link; a text that was selected is not.
    this.element.addEventListener("click", ({ target }) => target.closest("a") || String(getSelection()) || this.link.click());
  }

  place(index, height) {
    const place = `translateY(${index * height}px)`;
    if (place === this.#place) return;
    this.#place = place;
    this.element.setAttribute("aria-rowindex", String(index + 2));
    this.element.style.transform = place;
  }

  draw(row, isActive, all) {
    const tab = isActive ? 0 : -1;
    if (this.link.tabIndex !== tab) this.link.tabIndex = tab;
    if (row === this.#row && row.version === this.#version && !all) return;
    if (row !== this.#row) {
      this.element.dataset.id = row.id;
      this.link.href = `#session=${encodeURIComponent(row.id)}`;
      write(this.link, row.user);
    }
    [this.#row, this.#version] = [row, row.version];
    this.badge.show(row);
    const { since, name, digits, owner, viewers } = this.#cells;
    write(name, nameOf(row) ?? words.list.nobody);
    name.classList.toggle("muted", !isLinked(row));
    write(digits, phone(row.me));
    write(since, ago(row.since));
    since.dateTime = row.since ?? "";
    write(owner, short(row.owner));
    write(viewers, row.viewers === undefined ? words.none : number(row.viewers));
  }
}
