// The passkey step in one page: what WhatsApp asked for, how far the person has come, what went wrong. Draws nothing
// (passkey-views.js does), and reaches the server only through two functions that it is given. Held by link.js while a
// step is open.

import { Extension } from "./extension.js";
import { readAnswer } from "./passkey.js";

export class PasskeyStep {
  /**
   * `required`: WhatsApp waits for the passkey. `asking`: the extension asks in another tab. `sent`: on its way to WhatsApp.
   * `confirmation`: two codes are to be compared. `confirmed`: they are the same.
   */
  phase = "required";
  /** The options of the event, and when they expire. */
  options;
  expiresAt;
  /** The code that the phone shows too. */
  code;
  automatic = false;
  /** Why the last try failed: `{ code }`, as ../words has it. */
  problem;
  /** On a phone: the person has asked for the steps anyway. */
  anyway = false;

  #send;
  #confirm;
  #onChange;
  #extension;
  #asking;

  /** `send(credential)` and `confirm()` tell the server; `onChange()` is called when something here has changed. */
  constructor({ send, confirm, onChange }) {
    this.#send = send;
    this.#confirm = confirm;
    this.#onChange = onChange;
    this.#extension = new Extension({ onChange });
  }

  get hasExtension() {
    return this.#extension.isHere;
  }

  /** An event `passkey`. The same one may come twice, when a stream begins anew. */
  hear(data) {
    if (data.stage === "confirmation") {
      this.#stopAsking();
      if (data.code !== this.code) this.phase = data.automatic ? "confirmed" : "confirmation";
      Object.assign(this, { code: data.code, automatic: data.automatic === true, problem: undefined });
      return;
    }
    const isNew = data.options?.challenge !== this.options?.challenge;
    Object.assign(this, { options: data.options, expiresAt: data.expiresAt });
    if (!isNew) return;
    this.#stopAsking();
    Object.assign(this, { phase: "required", code: undefined, problem: undefined });
  }

  /** Ends the step, with any result. */
  close() {
    this.#stopAsking();
    this.#extension.close();
  }

  // ---- what the person does ----------------------------------------------------------------------------------

  async useExtension() {
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    this.#becomes("asking");
    try {
      const credential = await this.#extension.ask(this.options, { signal });
      await this.#answer(credential);
    } catch (error) {
      if (!signal.aborted) this.#becomes("required", { code: `extension_${error.code}` });
    }
  }

  stopAsking() {
    this.#stopAsking();
    this.#becomes("required");
  }

  async paste(text) {
    try {
      await this.#answer(readAnswer(text, this.options));
    } catch (error) {
      this.#becomes("required", { code: `answer_${error.code}` });
    }
  }

  async confirm() {
    this.#becomes("confirmed");
    try {
      await this.#confirm();
    } catch (error) {
      this.#becomes("confirmation", { code: error.code });
    }
  }

  showAnyway() {
    this.anyway = true;
    this.#onChange();
  }

  /** The result comes as an event. */
  async #answer(credential) {
    this.#becomes("sent");
    try {
      await this.#send(credential);
    } catch (error) {
      this.#becomes("required", { code: error.code });
    }
  }

  #stopAsking() {
    this.#asking?.abort();
    this.#asking = undefined;
  }

  #becomes(phase, problem) {
    // The stream may have been faster than the answer to a call.
    if (phase === "required" && this.code) return;
    Object.assign(this, { phase, problem });
    this.#onChange();
  }
}
