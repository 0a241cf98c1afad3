// In the tab of web.whatsapp.com: asks the person, uses the passkey, sends what came of it to background.js. Runs in the
// extension's own world, where WebAuthn works for the tab's origin and no script of the page can reach in.
//
// The button is the consent, each time, and names the page that asks; browsers also want a click before a passkey is used.

(() => {
  if (globalThis.qrcastCeremony) return;

  /** The one that is open. */
  let current;

  /** Puts the question up. A newer one takes the place of an older. */
  globalThis.qrcastCeremony = (job) => {
    current?.finish({ error: { code: "replaced", message: "Another page asked for the passkey in the meantime." } });
    current = new Ceremony(job);
  };

  chrome.runtime.onMessage.addListener((message) => {
    if (message.type !== "cancel" || current?.job.id !== message.id) return;
    current.finish({ error: { code: "cancelled_by_page", message: "The page no longer asks." } });
  });

  class Ceremony {
    #port;
    #result;
    #question;
    #stop = new AbortController();
    #late;
    /** Why the last try came to nothing. */
    #trouble;

    constructor(job) {
      this.job = job;
      this.#question = question(job.origin, { use: () => this.#use(), no: () => this.#decline() });
      const error = { code: "timeout", message: "Nobody used the passkey in time." };
      this.#late = setTimeout(() => this.finish({ error }), job.options.timeout);
      this.#connect();
    }

    /** background.js may be ended by the browser at any time; a new connection starts it again. */
    #connect() {
      const { id, tabId, isOurs } = this.job;
      try {
        this.#port = chrome.runtime.connect({ name: JSON.stringify({ id, tabId, isOurs }) });
      } catch {
        // The extension was removed: there is nobody to answer to.
        return this.#close();
      }
      this.#port.onMessage.addListener(() => {
        const port = this.#port;
        this.#port = undefined;
        port.disconnect();
      });
      this.#port.onDisconnect.addListener(() => this.#port && setTimeout(() => this.#connect(), 100));
      if (this.#result) this.#port.postMessage(this.#result);
    }

    async #use() {
      this.#question.busy(true);
      try {
        const credential = await usePasskey(this.job.options, this.#stop.signal);
        this.finish({ credential });
      } catch (error) {
        this.#trouble = told(error);
        this.#question.say(`${this.#trouble.message} Try again, or go back.`);
      } finally {
        this.#question.busy(false);
      }
    }

    #decline() {
      this.finish({ error: this.#trouble ?? { code: "declined", message: "The passkey was not used." } });
    }

    finish(result) {
      if (this.#result) return;
      this.#result = result;
      this.#close();
      this.#port?.postMessage(result);
    }

    #close() {
      clearTimeout(this.#late);
      this.#stop.abort();
      this.#question.remove();
      if (current === this) current = undefined;
    }
  }

  // ---- the passkey -----------------------------------------------------------------------------------------------

  /** Exactly what WhatsApp is sent. By hand, so that it is the same in browsers that have `toJSON` and that have not. */
  async function usePasskey(options, signal) {
    const publicKey = {
      ...options,
      challenge: bytes(options.challenge),
      allowCredentials: options.allowCredentials.map((credential) => ({ ...credential, id: bytes(credential.id) })),
    };
    const { id, rawId, type, response } = await navigator.credentials.get({ publicKey, signal });
    const { clientDataJSON, authenticatorData, signature, userHandle } = response;
    return {
      id,
      rawId: text(rawId),
      type,
      response: {
        clientDataJSON: text(clientDataJSON),
        authenticatorData: text(authenticatorData),
        signature: text(signature),
        userHandle: userHandle ? text(userHandle) : null,
      },
    };
  }

  function bytes(base64) {
    const binary = atob(base64.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
  }

  function text(buffer) {
    const binary = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
    return btoa(binary).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  }

  function told(error) {
    switch (error?.name) {
      case "NotAllowedError":
        return { code: "not_used", message: "The passkey was not used: it was cancelled, it took too long, or no passkey of WhatsApp was found." };
      case "OperationError":
        return { code: "busy", message: "WhatsApp’s own page is asking for a passkey at this moment. Close that question first." };
      case "SecurityError":
        return { code: "failed", message: "The browser does not allow WhatsApp’s passkey here." };
      default:
        return { code: "failed", message: `The browser could not use the passkey (${error?.name ?? error}).` };
    }
  }

  // ---- the question ----------------------------------------------------------------------------------------------

  /** Styled through the object model: the page's policy forbids style in markup. */
  const LOOK = {
    dialog: "max-width: 26rem; width: calc(100vw - 2rem); box-sizing: border-box; padding: 1.5rem; border: 0; border-radius: 16px; background: #fff; color: #12211b; font: 16px/1.5 system-ui, sans-serif; box-shadow: 0 0 0 100vmax rgb(0 0 0 / 60%); outline: none; color-scheme: light;",
    h2: "margin: 0 0 .75rem; font: 650 1.375rem/1.25 system-ui, sans-serif; color: inherit;",
    p: "margin: 0 0 .75rem; overflow-wrap: anywhere;",
    problem: "margin: 0 0 .75rem; padding: .75rem 1rem; border-radius: 12px; background: #fbe9e7; color: #a3211a;",
    buttons: "display: grid; gap: .5rem; margin-top: 1.25rem;",
    use: "min-height: 48px; padding: .5rem 1rem; border: 0; border-radius: 12px; background: #0a7455; color: #fff; font: 600 16px/1.3 system-ui, sans-serif; cursor: pointer; overflow-wrap: anywhere;",
    no: "min-height: 44px; padding: .5rem 1rem; border: 1px solid #c5d0ca; border-radius: 12px; background: none; color: inherit; font: 500 16px/1.3 system-ui, sans-serif; cursor: pointer;",
  };

  function question(origin, { use, no }) {
    const { host } = new URL(origin);
    const holder = document.createElement("qrcast-passkey");
    const root = holder.attachShadow({ mode: "closed" });
    const dialog = element("dialog", "dialog");
    dialog.tabIndex = -1;
    dialog.setAttribute("aria-labelledby", "title");
    const title = element("h2", "h2", "Use your WhatsApp passkey?");
    title.id = "title";
    const problem = element("p", "problem");
    problem.setAttribute("role", "alert");
    problem.hidden = true;
    const says = `Use my passkey for ${host}`;
    const yes = element("button", "use", says);
    const back = element("button", "no", "Not now");
    // What a script of the page makes up is no consent.
    yes.addEventListener("click", (click) => click.isTrusted && !yes.disabled && use());
    back.addEventListener("click", no);
    dialog.addEventListener("cancel", (cancel) => {
      cancel.preventDefault();
      no();
    });
    const buttons = element("div", "buttons");
    buttons.append(yes, back);
    dialog.append(
      title,
      element("p", "p", `${origin} wants to link your WhatsApp account. WhatsApp asks for your passkey first, and it works on WhatsApp’s own pages only.`),
      element("p", "p", "Go on only if you started this there yourself: whoever runs that page can then use your account."),
      problem,
      buttons,
    );
    root.append(dialog);
    document.documentElement.append(holder);
    dialog.showModal();
    // On the question, not on its "yes": an Enter that was meant for WhatsApp decides nothing.
    dialog.focus();
    return {
      busy: (busy) => {
        yes.disabled = busy;
        yes.style.opacity = busy ? "0.6" : "1";
        yes.textContent = busy ? "Your browser asks you now…" : says;
      },
      say: (text) => {
        problem.textContent = text;
        problem.hidden = false;
      },
      remove: () => holder.remove(),
    };
  }

  function element(tag, look, text = "") {
    const node = document.createElement(tag);
    node.style.cssText = LOOK[look];
    node.textContent = text;
    return node;
  }
})();
