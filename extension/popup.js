// The extension's own window: here, and nowhere else, a page is allowed or its permission taken back. The browser itself
// keeps what was allowed.

import { allowedPatterns, originToAllow, patternOf } from "./rules.js";

const $ = (id) => document.getElementById(id);
const namesPorts = chrome.runtime.getURL("").startsWith("chrome-extension:");

/** Opening this window is what lets it see the address of the tab. */
const [tab] = await chrome.tabs.query({ active: true, currentWindow: true });
const origin = originToAllow(tab?.url);
const pattern = origin && patternOf(origin, namesPorts);

async function show() {
  const { origins } = await chrome.permissions.getAll();
  const allowed = allowedPatterns(origins);
  const isAllowed = Boolean(pattern) && (await chrome.permissions.contains({ origins: [pattern] }));
  $("where").textContent = !origin
    ? "This page cannot be allowed: it has no secure address (https). Open the page that shows you the code for linking WhatsApp, then open this window again."
    : isAllowed
      ? `${origin} may ask for your WhatsApp passkey.`
      : `${origin} may not ask for your WhatsApp passkey.`;
  $("allow").textContent = `Allow ${origin}`;
  $("allow").hidden = !origin || isAllowed;
  $("others").hidden = allowed.length === 0;
  $("list").replaceChildren(...allowed.map(entry));
}

function entry(allowed) {
  const item = document.createElement("li");
  const remove = document.createElement("button");
  remove.textContent = "Remove";
  remove.setAttribute("aria-label", `Remove ${allowed}`);
  remove.addEventListener("click", () => decide(chrome.permissions.remove({ origins: [allowed] })));
  item.append(allowed.replace(/\/\*$/, ""), remove);
  return item;
}

async function decide(decision) {
  $("problem").hidden = true;
  try {
    await decision;
  } catch (error) {
    $("problem").textContent = `The browser refused: ${error.message}`;
    $("problem").hidden = false;
  }
  await show();
}

// Asked for in the click itself: browsers want that. background.js hears of it, also when this window is closed by then.
$("allow").addEventListener("click", () => decide(chrome.permissions.request({ origins: [pattern] })));

await show();
