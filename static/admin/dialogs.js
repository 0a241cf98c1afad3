// Dialogs: "are you sure", and a new session. Each is a modal `<dialog>`, so the browser keeps the focus inside, Escape
// closes it, and the focus goes back to where it was.

import { call } from "./api.js";
import { h, why } from "./dom.js";
import { words } from "./words.js";

const USER_ID = /^[A-Za-z0-9._@+-]{1,64}$/;

/** Whether the person goes on. The focus is on "Cancel" first: Enter alone destroys nothing. */
export async function confirm({ title, text, go, danger = false }) {
  const cancel = h("button", { type: "submit", value: "", class: "quiet", autofocus: true }, words.cancel);
  const dialog = h("dialog", { "aria-labelledby": "dialog-title", "aria-describedby": "dialog-text" },
    h("form", { method: "dialog" }, h("h2", { id: "dialog-title" }, title), h("p", { id: "dialog-text", class: "muted" }, text),
      h("div", { class: "bar end" }, cancel, h("button", { type: "submit", value: "go", class: danger ? "danger" : undefined }, go))));
  return (await open(dialog)) === "go";
}

/** Asks for a user id, and makes a session; what `init-session` answered, or nothing. */
export async function newSession() {
  const problem = h("p", { id: "new-problem", class: "problem", role: "alert", hidden: true });
  const field = (id, label, properties) => {
    const input = h("input", { id, autocomplete: "off", autocapitalize: "none", spellcheck: "false", ...properties });
    return [input, [h("label", { for: id }, label), input]];
  };
  const [user, userField] = field("new-user", words.create.user, { maxlength: "64", "aria-describedby": "new-hint new-problem", autofocus: true });
  const [phone, phoneField] = field("new-phone", words.create.phone, { type: "tel" });
  const go = h("button", { type: "submit", value: "go" }, words.create.go);
  const complain = (text) => {
    problem.textContent = text;
    problem.hidden = !text;
    user.setAttribute("aria-invalid", String(Boolean(text)));
    if (text) user.focus();
  };
  let made;
  const form = h("form", {
    method: "dialog", novalidate: true,
    onsubmit: async (submit) => {
      submit.preventDefault();
      const userId = user.value.trim();
      if (!USER_ID.test(userId)) return complain(userId ? words.create.badUser : words.create.noUser);
      if (go.getAttribute("aria-disabled") === "true") return;
      go.setAttribute("aria-disabled", "true");
      try {
        made = await call("POST", "/api/init-session", { userId, phoneNumber: phone.value.trim() || undefined });
        dialog.close("go");
      } catch (error) {
        complain(why(error));
      } finally {
        go.setAttribute("aria-disabled", "false");
      }
    },
  }, h("h2", { id: "dialog-title" }, words.create.title), ...userField, h("p", { id: "new-hint", class: "muted small" }, words.create.userHint),
    ...phoneField, problem,
    h("div", { class: "bar end" }, h("button", { type: "button", class: "quiet", onclick: () => dialog.close("") }, words.cancel), go));
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  await open(dialog);
  return made;
}

function open(dialog) {
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
}
