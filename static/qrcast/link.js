// `<qrcast-link session="…" token="…">`: the whole experience of linking, in one element. It holds what is known of the
// session and what the person chose; qrcast/views.js draws it, qrcast/subscribe.js brings the news.
//
// Attributes: `session`; `token` (or the property `token`, which may be a function); `base-url` (the server, by default
// where this script came from); `lang` (by default that of the page around it, else the reader's); `start-over` (an address
// for the button that ends a dead end); `return-url` (where a button leads when the account is linked); `extension` (where
// people get the browser extension for the passkey step); `theme` (`light` or `dark`, by default the reader's).
// Properties: `words` (replaces what it names), `view` (read only: what is shown), `restart` (a function that starts the
// session again in the page's way: a token may not where an account is linked).
// Events, which bubble: `qrcast-event`, `qrcast-state` and `qrcast-token` with what subscribe() says, `qrcast-view` with
// what is shown.
// Style it with `::part()` and the custom properties at the top of qrcast/style.js.

import { Api } from "./api.js";
import { nothingKnown, open, refuse, take } from "./known.js";
import { style } from "./style.js";
import { subscribe } from "./subscribe.js";
import { Tabs } from "./tabs.js";
import { draw } from "./views.js";
import { ENGLISH, choose, load, whyRefused } from "./words.js";

/** A break is mentioned only when it lasts this long. */
const QUIET_MS = 1_000;
/** How often countdowns are updated. */
const TICK_MS = 250;

/** In Node there is no HTMLElement, and the module is still imported there for `subscribe`. */
export class QrcastLink extends (globalThis.HTMLElement ?? class {}) {
  static observedAttributes = ["session", "token", "base-url", "lang"];

  restart;

  #known = nothingKnown();
  /** Whether the content of a `passkey` event is missing, because polling does not deliver it. */
  #isPolled = false;
  /** While WhatsApp waits for a passkey, and what draws it. */
  #step;
  #passkeyViews;
  /** Who else follows the session in this browser. */
  #tabs;
  #method = "qr";
  #chosen = false;
  #busy = false;
  #number = "";
  #lostSince;
  /** The language that was chosen, what it says once it is loaded, and what the page says instead. */
  #lang;
  #spoken;
  #ownWords = {};
  #words = ENGLISH.words;
  #token;
  #api;
  #subscription;
  #drawing;
  #ticking;
  #starting = false;

  connectedCallback() {
    if (!this.shadowRoot) {
      this.attachShadow({ mode: "open" }).adoptedStyleSheets = [style()];
    }
    if (isPhone()) this.#method = "phone";
    this.#speak();
    this.#ticking = setInterval(() => this.#render(), TICK_MS);
    this.#start();
  }

  disconnectedCallback() {
    clearInterval(this.#ticking);
    this.#subscription?.close();
    this.#subscription = undefined;
    this.#tabs?.close();
    this.#endStep();
  }

  attributeChangedCallback(name) {
    if (!this.isConnected || !this.shadowRoot) return;
    if (name === "lang") this.#speak();
    else this.#start();
  }

  get token() {
    return this.#token ?? this.getAttribute("token") ?? undefined;
  }

  set token(token) {
    this.#token = token;
    if (this.isConnected) this.#start();
  }

  get words() {
    return this.#words;
  }

  set words(words) {
    this.#ownWords = words;
    this.#sayAnew();
  }

  get view() {
    return this.#drawing?.key;
  }

  // ---- the language --------------------------------------------------------------------------------------------

  /** Nothing is drawn before its words are there. */
  async #speak() {
    const lang = choose(this.closest("[lang]")?.lang, ...navigator.languages);
    if (lang === this.#lang) return;
    this.#lang = lang;
    const spoken = lang === "en" ? ENGLISH : await load(lang);
    if (lang !== this.#lang) return;
    this.#spoken = spoken;
    this.#sayAnew();
  }

  #sayAnew() {
    this.#words = { ...(this.#spoken ?? ENGLISH).words, ...this.#ownWords };
    this.#drawing = undefined;
    this.#render();
  }

  // ---- the session -------------------------------------------------------------------------------------------

  /** Runs once for any number of changed attributes. */
  #start() {
    if (this.#starting) return;
    this.#starting = true;
    queueMicrotask(() => {
      this.#starting = false;
      this.#subscription?.close();
      this.#subscription = undefined;
      this.#tabs?.close();
      this.#tabs = undefined;
      this.#known = nothingKnown();
      this.#endStep();
      this.#chosen = false;
      this.#lostSince = undefined;
      if (!this.isConnected) return;
      this.#api = new Api({ baseUrl: this.getAttribute("base-url") ?? undefined, token: this.token });
      const session = this.getAttribute("session");
      if (session) {
        this.#tabs = new Tabs(session);
        this.#follow();
      }
      this.#render();
    });
  }

  #follow(lastEventId) {
    this.#subscription = subscribe(this.getAttribute("session"), {
      api: this.#api,
      lastEventId,
      onEvent: (event) => this.#hear(event),
      onState: (state) => this.#hearState(state),
      onToken: (token) => this.#say("qrcast-token", token),
    });
  }

  #say(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  #hear({ id, event, data }) {
    if (take(this.#known, event, data, this.#now())) this.#goOn(event, data);
    this.#say("qrcast-event", { id, event, data });
    this.#render();
  }

  #goOn(event, data) {
    if (event === "code") {
      // The code was requested on this page or with `init-session`.
      if (!this.#chosen) this.#method = "phone";
      this.#number ||= data.phoneNumber;
    } else if (event === "passkey") {
      this.#hearPasskey(data);
    }
  }

  /** The step and its views are loaded with the first of these events; the next ones wait for that in their order. */
  async #hearPasskey(data) {
    const subscription = this.#subscription;
    const parts = await Promise.all([import("./step.js"), import("./passkey-views.js")]).catch(() => undefined);
    if (subscription !== this.#subscription || this.#known.status !== "passkey_required") return;
    if (parts) {
      const [{ PasskeyStep }, views] = parts;
      this.#passkeyViews = views;
      this.#step ??= this.#newStep(PasskeyStep);
      this.#step.hear(data);
    } else {
      this.#isPolled = true;
    }
    this.#render();
  }

  #hearState(state) {
    if (state.phase === "open") {
      this.#isPolled = state.transport === "polling";
      this.#lostSince = undefined;
      open(this.#known, state.status);
    } else if (state.phase === "waiting") {
      this.#lostSince ??= Date.now();
    } else if (state.phase === "failed") {
      this.#known.refusal = state.error;
    } else if (state.phase === "ended") {
      this.#lostSince = undefined;
    }
    this.#say("qrcast-state", state);
    this.#render();
  }

  #refused(method, code, retryAfterMs) {
    refuse(this.#known, { method, code, retryAfterMs }, this.#now());
  }

  #now() {
    return this.#subscription?.now() ?? Date.now();
  }

  #newStep(PasskeyStep) {
    const subscription = this.#subscription;
    return new PasskeyStep({
      send: (credential) => subscription.answerPasskey(credential),
      confirm: () => subscription.confirmPasskey(),
      onChange: () => {
        const before = this.view;
        this.#render();
        // A field that a person is filling in keeps the focus.
        if (this.view !== before) this.#focus();
      },
    });
  }

  #endStep() {
    this.#step?.close();
    this.#step = undefined;
  }

  // ---- what the person does ----------------------------------------------------------------------------------

  #path(rest) {
    return `/api/sessions/${encodeURIComponent(this.getAttribute("session"))}/${rest}`;
  }

  /** Right after a start WhatsApp is not ready yet; the request is repeated without telling the person. */
  async #codeFor(phoneNumber) {
    for (let patience = 10; ; patience -= 1) {
      try {
        return await this.#api.call("POST", this.#path("pairing-code"), { phoneNumber });
      } catch (error) {
        if (error.code !== "QR_NOT_READY" || patience === 0) throw error;
        await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs ?? 1_000));
      }
    }
  }

  /** One thing at a time; what comes back for another session than the one that asked is dropped. */
  async #call(ask, then, otherwise) {
    const session = this.getAttribute("session");
    this.#busy = true;
    this.#render();
    try {
      const answer = await ask();
      if (session === this.getAttribute("session")) then(answer);
    } catch (error) {
      if (session === this.getAttribute("session")) otherwise(error);
    } finally {
      this.#busy = false;
      this.#render();
    }
  }

  #actions = {
    choose: (method) => {
      this.#method = method;
      this.#chosen = true;
      this.#known.problem = undefined;
      this.#render();
      this.#focus();
    },
    askForCode: (number) => {
      this.#number = number;
      this.#known.problem = undefined;
      this.#chosen = true;
      this.#call(
        // Sent as it was typed, because the server decides what is a phone number.
        () => this.#codeFor(number),
        // The stream delivers it as well, but polling does not.
        (answer) => Object.assign(this.#known, { code: { phoneNumber: number, ...answer }, problem: undefined }),
        (error) => this.#refused("code", refusalWord(error), error.details?.retryAfterMs ?? error.retryAfterMs),
      ).then(() => this.#focus());
    },
    passkey: (what, ...how) => this.#step?.[what](...how),
    otherNumber: () => {
      this.#known.code = undefined;
      this.#render();
      this.#focus();
    },
    restart: () => {
      const cursor = this.#subscription?.lastEventId;
      this.#call(
        () => (this.restart ? this.restart() : this.#api.call("POST", this.#path("restart"))),
        () => {
          const over = this.#known.cut?.reason !== "qr_exhausted" || this.#known.refusal;
          this.#known = { ...nothingKnown(), status: "initializing" };
          if (over) {
            this.#subscription?.close();
            this.#follow(cursor);
          }
        },
        (error) => this.#refused("restart", refusalWord(error)),
      ).then(() => this.#focus());
    },
  };

  /** Moves the focus to the result of what the person did. */
  #focus() {
    this.shadowRoot.querySelector("[data-focus]")?.focus();
  }

  // ---- what is shown -----------------------------------------------------------------------------------------

  #render() {
    if (!this.shadowRoot || !this.#api || !this.#spoken) return;
    const lostMs = this.#lostSince === undefined || this.#known.refusal ? 0 : Date.now() - this.#lostSince;
    if (this.#known.status !== "passkey_required") this.#endStep();
    const scene = {
      ...this.#known,
      step: this.#step,
      passkeyViews: this.#passkeyViews,
      isPolled: this.#isPolled,
      isPhone: isPhone(),
      extensionAddress: this.getAttribute("extension"),
      method: this.#method,
      busy: this.#busy,
      number: this.#number,
      offlineMs: lostMs > QUIET_MS ? lostMs : 0,
      isTwice: this.#tabs?.areMany,
      now: this.#now(),
      spoken: this.#spoken,
      words: this.#words,
      startOver: this.getAttribute("start-over"),
      returnUrl: this.getAttribute("return-url"),
      why: (code) => whyRefused(this.#words, code),
    };
    const before = this.view;
    this.#drawing = draw(this.shadowRoot, this.#drawing, scene, this.#actions);
    if (this.view === before) return;
    this.#say("qrcast-view", { view: this.view });
  }
}

/** WhatsApp's own code, if the server passes one on, is more precise than the code of the answer. */
function refusalWord({ code, details }) {
  if (details?.field === "phoneNumber") return "invalid_number";
  // `forbidden` is a code of WhatsApp; this refusal comes from the server, which does not allow it with this token.
  return details?.code ?? (code === "FORBIDDEN" || code === "UNAUTHORIZED" ? "not_allowed" : code);
}

/** A phone cannot scan its own screen, so it is offered the code first. A tablet can be scanned by the phone. */
function isPhone() {
  return matchMedia("(pointer: coarse)").matches && Math.min(screen.width, screen.height) <= 600;
}
