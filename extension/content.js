// In a page that the person has allowed: tells it that the extension is there, and carries its requests to background.js
// and the answers back. It speaks to this window and this origin alone. The page's side is static/qrcast/extension.js.
//
//   page:  { to: "qrcast-extension", type: "hello" }
//          { to: "qrcast-extension", type: "ask", id, options }      `id` is the page's own, such as a UUID
//          { to: "qrcast-extension", type: "cancel", id }
//   here:  { from: "qrcast-extension", type: "here", version }       when it starts, and after each hello
//          { from: "qrcast-extension", type: "answer", id, credential }   or, instead of it, error { code, message }

(() => {
  // A page that was open when it was allowed may get this twice.
  if (globalThis.qrcastIsHere) return;
  globalThis.qrcastIsHere = true;

  /** Requests that have no answer yet. */
  const open = new Set();

  function say(message) {
    window.postMessage({ from: "qrcast-extension", ...message }, location.origin);
  }

  function here() {
    // Gone when the extension was updated or removed under the page.
    if (chrome.runtime?.id) say({ type: "here", version: chrome.runtime.getManifest().version });
  }

  function answer(id, { credential, error }) {
    if (open.delete(id)) say(error ? { type: "answer", id, error } : { type: "answer", id, credential });
  }

  async function ask(id, options) {
    open.add(id);
    try {
      const { error } = await chrome.runtime.sendMessage({ type: "ask", id, options });
      if (error) answer(id, { error });
    } catch {
      const message = "The extension was updated or removed. Reload this page.";
      answer(id, { error: { code: "gone", message } });
    }
  }

  function cancel(id) {
    if (open.delete(id)) chrome.runtime.sendMessage({ type: "cancel", id }).catch(() => {});
  }

  window.addEventListener("message", ({ source, origin, data }) => {
    if (source !== window || origin !== location.origin || data?.to !== "qrcast-extension") return;
    if (data.type === "hello") here();
    if (typeof data.id !== "string" || data.id.length > 100) return;
    if (data.type === "ask" && !open.has(data.id)) ask(data.id, data.options);
    if (data.type === "cancel") cancel(data.id);
  });

  chrome.runtime.onMessage.addListener((message) => {
    if (message.type === "answer") answer(message.id, message);
  });

  window.addEventListener("pagehide", () => [...open].forEach(cancel));

  here();
})();
