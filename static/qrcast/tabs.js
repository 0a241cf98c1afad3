// Whether a session is followed in another tab or window of this browser as well. Held by link.js.

const ASK_EVERY_MS = 5_000;

export class Tabs {
  #channel;
  #timer;
  /** When another one was last heard. One that was closed says nothing, and is forgotten. */
  #heard = -Infinity;

  constructor(session) {
    try {
      this.#channel = new BroadcastChannel(`qrcast ${session}`);
    } catch {
      // An old browser, or a frame that may not have one.
      return;
    }
    this.#channel.onmessage = ({ data }) => {
      this.#heard = Date.now();
      if (data === "anybody?") this.#channel.postMessage("here");
    };
    const ask = () => this.#channel.postMessage("anybody?");
    this.#timer = setInterval(ask, ASK_EVERY_MS);
    ask();
  }

  get areMany() {
    return Date.now() - this.#heard < 1.5 * ASK_EVERY_MS;
  }

  close() {
    clearInterval(this.#timer);
    this.#channel?.close();
  }
}
