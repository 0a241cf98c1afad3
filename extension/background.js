// Between the pages that the person has allowed and a tab of web.whatsapp.com: takes a request from the one, brings the
// other to the front, and carries the answer back. It remembers nothing: what an answer needs to find its way travels with
// the request, for the browser may end this script at any moment and start it again.
//
//   page -- content.js --{ask}--> here --> ceremony.js (in web.whatsapp.com) --{answer}--> here --> content.js -- page

import { allowedPatterns, originToAllow, patternOf, readOptions, Refusal, WHATSAPP } from "./rules.js";

/** WhatsApp Web is a big page. */
const LOAD_MS = 60_000;
const LOOK_AGAIN_MS = 200;
const NOT_LOADED = "web.whatsapp.com did not load. Check the connection and try again.";

const namesPorts = chrome.runtime.getURL("").startsWith("chrome-extension:");

// ---- the pages that were allowed -----------------------------------------------------------------------------------

/** content.js runs where the person has allowed it and nowhere else. Not kept over a restart: the permission is. */
async function follow() {
  const { origins } = await chrome.permissions.getAll();
  const matches = allowedPatterns(origins);
  const registered = await chrome.scripting.getRegisteredContentScripts({ ids: ["page"] });
  if (!matches.length) {
    if (registered.length) await chrome.scripting.unregisterContentScripts({ ids: ["page"] });
    return;
  }
  const script = { id: "page", matches, js: ["content.js"], runAt: "document_start", persistAcrossSessions: false };
  if (registered.length) await chrome.scripting.updateContentScripts([script]);
  else await chrome.scripting.registerContentScripts([script]);
}

/** One at a time: two that register at once would meet each other's script. */
let following = Promise.resolve();
function followNow() {
  following = following.then(follow).catch((error) => console.error(error));
  return following;
}

/** Pages that are open already. */
async function enter(patterns) {
  if (!patterns.length) return;
  for (const { id } of await chrome.tabs.query({ url: patterns })) {
    // A tab that shows an error page has nothing to run in.
    chrome.scripting.executeScript({ target: { tabId: id }, files: ["content.js"] }).catch(() => {});
  }
}

chrome.permissions.onAdded.addListener(async ({ origins }) => {
  await followNow();
  await enter(allowedPatterns(origins));
});
chrome.permissions.onRemoved.addListener(followNow);
chrome.runtime.onStartup.addListener(followNow);
chrome.runtime.onInstalled.addListener(async () => {
  await followNow();
  await enter(allowedPatterns((await chrome.permissions.getAll()).origins));
});

// ---- a request ---------------------------------------------------------------------------------------------------

chrome.runtime.onMessage.addListener((message, sender, answer) => {
  if (sender.id !== chrome.runtime.id || sender.tab === undefined || sender.frameId !== 0) return false;
  if (message.type === "cancel") {
    cancel(message.id);
    return false;
  }
  if (message.type !== "ask") return false;
  ask(message, sender).then(
    () => answer({}),
    (error) => answer({ error: told(error) }),
  );
  // The answer comes later.
  return true;
});

async function ask({ id, options }, { tab, url }) {
  const origin = originToAllow(url);
  // A page keeps its script when the permission is taken back.
  if (!origin || !(await chrome.permissions.contains({ origins: [patternOf(origin, namesPorts)] }))) {
    throw new Refusal("not_allowed", "This page has not been allowed in the extension's window.");
  }
  const job = { id, origin, options: readOptions(options), tabId: tab.id };
  if (!(await chrome.permissions.contains({ origins: [`${WHATSAPP}/*`] }))) {
    throw new Refusal("no_whatsapp", "The browser does not let the extension use web.whatsapp.com. Allow it in the browser's list of extensions.");
  }
  const { id: tabId, isOurs } = await whatsappTab(tab);
  try {
    await chrome.scripting.executeScript({ target: { tabId }, files: ["ceremony.js"] });
  } catch {
    // The tab has the right address and shows the browser's own page about an error.
    throw new Refusal("not_loaded", NOT_LOADED);
  }
  await chrome.scripting.executeScript({
    target: { tabId },
    func: (job) => globalThis.qrcastCeremony(job),
    args: [{ ...job, isOurs }],
  });
}

/** A loaded tab of WhatsApp Web in front of the person, beside the page where there is none. */
async function whatsappTab({ windowId, index }) {
  const tabs = await chrome.tabs.query({ url: `${WHATSAPP}/*` });
  const there = tabs.find((tab) => tab.windowId === windowId) ?? tabs[0];
  const tab = there ?? (await chrome.tabs.create({ url: `${WHATSAPP}/`, windowId, index: index + 1 }));
  await chrome.tabs.update(tab.id, { active: true });
  await chrome.windows.update(tab.windowId, { focused: true });
  for (const until = Date.now() + LOAD_MS; Date.now() < until; ) {
    const { status, url } = await chrome.tabs.get(tab.id).catch(() => {
      throw new Refusal("tab_closed", "The tab of WhatsApp Web was closed.");
    });
    if (status === "complete" && url?.startsWith(`${WHATSAPP}/`)) return { id: tab.id, isOurs: !there };
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
  throw new Refusal("not_loaded", NOT_LOADED);
}

/** The page no longer waits: its question leaves the screen. */
async function cancel(id) {
  for (const tab of await chrome.tabs.query({ url: `${WHATSAPP}/*` })) {
    chrome.tabs.sendMessage(tab.id, { type: "cancel", id }).catch(() => {});
  }
}

function told(error) {
  if (error instanceof Refusal) return { code: error.code, message: error.message };
  return { code: "failed", message: `The tab of WhatsApp Web could not be used: ${error?.message ?? error}` };
}

// ---- its answer --------------------------------------------------------------------------------------------------

/** ceremony.js holds a connection as long as its question is open, so that a tab that goes away is noticed. */
chrome.runtime.onConnect.addListener((port) => {
  const { id, tab, url } = port.sender;
  if (id !== chrome.runtime.id || tab === undefined || !url?.startsWith(`${WHATSAPP}/`)) return port.disconnect();
  const job = JSON.parse(port.name);
  let answered = false;
  port.onMessage.addListener(async (result) => {
    answered = true;
    port.postMessage("taken");
    await hand(job, result);
    // What the extension opened it also closes, unless another question stands there. A tab of the person's own stays.
    if (job.isOurs && result.error?.code !== "replaced") await chrome.tabs.remove(tab.id).catch(() => {});
  });
  port.onDisconnect.addListener(() => {
    const error = { code: "tab_closed", message: "The tab of WhatsApp Web was closed or left before the passkey was used." };
    if (!answered) hand(job, { error });
  });
});

/** Back to the page, which comes to the front again. It may be gone. */
async function hand({ id, tabId }, { credential, error }) {
  try {
    await chrome.tabs.sendMessage(tabId, { type: "answer", id, credential, error }, { frameId: 0 });
    // The person has gone on elsewhere.
    if (["cancelled_by_page", "replaced"].includes(error?.code)) return;
    const { windowId } = await chrome.tabs.update(tabId, { active: true });
    await chrome.windows.update(windowId, { focused: true });
  } catch {
    // Nobody waits for it any more.
  }
}

followNow();
