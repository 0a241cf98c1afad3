// The parts of the views: titles, buttons, steps, the account, pictures. Contains neither views nor state.

import { fill, phoneNumber } from "./words.js";

/** A view with a picture, a title, a sentence and at most two buttons. */
export function message(heading, text, sign, buttons = [], mood = "calm") {
  const node = h(
    "section",
    { class: "message" },
    h("div", { part: "icon", class: `sign ${mood}` }, icon(sign)),
    title(heading),
    h("p", { part: "text", class: "muted" }, text),
    ...(buttons.length ? [h("div", { class: "buttons" }, ...buttons)] : []),
  );
  return { node, says: `${heading}. ${text}` };
}

export function title(text, focus = true) {
  return h("h2", { part: "title", tabindex: "-1", "data-focus": focus || undefined }, text);
}

export function account(words) {
  const initial = h("span", { class: "initial", "aria-hidden": "true" });
  const name = h("strong", { part: "name" });
  const number = h("span", { part: "number", class: "muted", dir: "ltr" });
  const node = h("div", { part: "account", class: "account" }, initial, h("span", { class: "who" }, name, number));
  const update = (me) => {
    const called = me?.pushName || words.accountUnnamed;
    write(initial, [...called][0].toUpperCase());
    write(name, called);
    write(number, phoneNumber(me?.id));
  };
  return { node, update };
}

export function startAgain(address, words, prominent) {
  if (!address) return undefined;
  return h("a", { part: prominent ? "button" : "switch", class: prominent ? "main" : "link", href: address }, words.startOver);
}

/** Back to the page that sent the person here. */
export function wayBack(address, words, look) {
  const { protocol, host } = parsed(address);
  if (!/^https?:$/.test(protocol)) return undefined;
  return h("a", { part: look === "main" ? "button" : "switch", class: look, href: address }, fill(words.backTo, { host }));
}

export function switchTo(method, text, actions) {
  return button("link", text, () => actions.choose(method));
}

/** `main` is the next step, `link` another way, `plain` a small help. */
export function button(look, text, onClick) {
  const part = { main: "button", link: "switch", plain: "copy" }[look];
  const node = h("button", { part, class: look, type: "button" }, text);
  node.addEventListener("click", () => node.getAttribute("aria-disabled") !== "true" && onClick());
  return node;
}

/** Stays focusable while it is disabled, so that a person who pressed it keeps the focus. */
export function busyButton(node, text, busy) {
  write(node, text);
  node.setAttribute("aria-disabled", String(busy));
}

/** Copies the code, which a person on the phone to be linked pastes. A page without TLS may not copy. */
export function copyButton(text, words, label = words.copy) {
  const node = button("plain", label, async () => {
    try {
      await navigator.clipboard.writeText(text);
      write(node, words.copied);
    } catch {
      node.hidden = true;
    }
  });
  node.hidden = !navigator.clipboard;
  return node;
}

/** A code in two halves, each letter in a box of its own. */
export function codeBoxes(code, alt) {
  const boxes = code.split("-").map((half) => h("span", { class: "half" }, ...[...half].map((letter) => h("b", {}, letter))));
  return h("div", { part: "code", class: "code", dir: "ltr", role: "img", "aria-label": alt }, ...boxes);
}

/** A code as it is read out. */
export function spelled(code) {
  return code.split("-").map((half) => [...half].join(" ")).join(", ");
}

/** WhatsApp's own page about an end. Advice of the server's is not shown: it is English, and `words` says the same. */
export function helpLine(help, words) {
  if (!help || !isWhatsApps(help)) return undefined;
  const link = h("a", { class: "link", href: help, target: "_blank", rel: "noopener noreferrer" }, words.help);
  return h("p", { part: "help" }, link);
}

/** The server checks links as well, but a page may use another server. */
export function isWhatsApps(address) {
  const { protocol, host, hostname, username, password } = parsed(address);
  const isKnown = hostname === "wa.me" || /^([a-z0-9-]+\.)*whatsapp\.com$/.test(hostname);
  return isKnown && protocol === "https:" && host === hostname && !username && !password;
}

/** An address in its parts; none of what is not one. */
function parsed(address) {
  try {
    return new URL(address);
  } catch {
    return {};
  }
}

export function steps(...sentences) {
  return h("ol", { part: "steps", class: "steps" }, ...sentences.map((sentence) => h("li", {}, h("span", {}, ...bold(sentence)))));
}

/** What may stand in a person's way, and what to do then; collapsed. */
export function trouble(words, ...sentences) {
  const items = sentences.map((sentence) => h("li", {}, ...bold(sentence)));
  return h("details", { part: "trouble", class: "hand" }, h("summary", {}, words.troubleTitle), h("ul", {}, ...items));
}

/** `**words**` in bold. */
function bold(sentence) {
  return sentence.split("**").map((piece, index) => (index % 2 ? h("strong", {}, piece) : piece));
}

export function problemLine() {
  const node = h("p", { part: "problem", class: "problem", role: "alert" });
  const update = (text) => {
    write(node, text);
    node.hidden = !text;
  };
  update("");
  return { node, update };
}

/** A screen reader announces every text that is set, even an equal one. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function h(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

// ---- pictures: lines on a grid of 24. They say nothing that the words do not -------------------------------------

const PATHS = {
  check: "M5 12.5l4.5 4.5L19 7.5",
  clock: "M12 7v5l3 2 M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18",
  exit: "M14 4h4a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2h-4 M4 12h11 M11 8l4 4l-4 4",
  stop: "M12 8v5 M12 16.2v.1 M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18",
  away: "M4 4l16 16 M8.5 8.2A5.5 5.5 0 0 0 7 19h9.5 M10.6 6.3A5.5 5.5 0 0 1 17 11a4 4 0 0 1 3.4 6",
  key: "M8 4a4 4 0 1 0 0 8a4 4 0 1 0 0-8 M11 11l8 8 M16 16l2-2",
  spinner: "M12 3a9 9 0 1 0 9 9",
};

const SVG = "http://www.w3.org/2000/svg";

/** A picture, hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", `icon ${name}`);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
