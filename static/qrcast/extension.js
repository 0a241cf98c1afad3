// Talks to the browser extension in ../../extension, if it is installed and allowed on this page, by messages in this
// window that the extension's content.js receives. Called by link.js, and by other people's pages.

/** Why the extension brought no passkey: `code` is a stable word, `message` a sentence for people. */
export class ExtensionError extends Error {
  constructor({ code, message }) {
    super(message);
    this.name = "ExtensionError";
    this.code = code;
  }
}

/** The extension, as this page sees it. `onChange` is called when it shows up, which may be at any time. */
export class Extension {
  #isHere = false;
  #onChange;
  #end = new AbortController();
  /** Requests that wait: what to do with the answer. */
  #waiting = new Map();

  constructor({ onChange } = {}) {
    this.#onChange = onChange;
    const { signal } = this.#end;
    addEventListener("message", (message) => this.#hear(message), { signal });
    this.#say({ type: "hello" });
  }

  get isHere() {
    return this.#isHere;
  }

  /**
   * The credential for the options of an event `passkey`, from a tab of web.whatsapp.com where the person is asked; an
   * ExtensionError when none comes. An abort takes the question off the screen.
   */
  ask(options, { signal } = {}) {
    const id = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    return new Promise((resolve, reject) => {
      const done = (settle, value) => {
        this.#waiting.delete(id);
        settle(value);
      };
      this.#waiting.set(id, ({ credential, error }) =>
        error ? done(reject, new ExtensionError(error)) : done(resolve, credential),
      );
      signal?.addEventListener("abort", () => {
        if (!this.#waiting.has(id)) return;
        this.#say({ type: "cancel", id });
        done(reject, signal.reason);
      });
      this.#say({ type: "ask", id, options });
    });
  }

  /** Stops listening. */
  close() {
    this.#end.abort();
  }

  #hear({ source, origin, data }) {
    if (source !== window || origin !== location.origin || data?.from !== "qrcast-extension") return;
    if (data.type === "here" && !this.#isHere) {
      this.#isHere = true;
      this.#onChange?.();
    }
    if (data.type === "answer") this.#waiting.get(data.id)?.(data);
  }

  #say(message) {
    window.postMessage({ to: "qrcast-extension", ...message }, location.origin);
  }
}
