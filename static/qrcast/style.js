// How `<qrcast-link>` looks. A page changes it with these custom properties, or reaches further with `::part()`:
//   --qrcast-accent, --qrcast-on-accent   buttons, links, the countdown, and the text on them
//   --qrcast-text, --qrcast-muted         words
//   --qrcast-surface, --qrcast-border     fields and quiet areas
//   --qrcast-good, --qrcast-bad, --qrcast-warning
//   --qrcast-radius, --qrcast-font
//   --qrcast-width                        how wide the element becomes at most, 50rem
// Parts: body, title, text, steps, qr-frame, qr, countdown, attempt, note, trouble, input, button, switch, copy, code, account,
// name, number, icon, problem, help, notice.
//
// A constructed style sheet, which a policy without 'unsafe-inline' allows. The QR is black on white in the dark theme
// too, because scanners need that.

const LIGHT = `
  --accent: var(--qrcast-accent, #0a7455); --on-accent: var(--qrcast-on-accent, #fff);
  --text: var(--qrcast-text, #12211b); --muted: var(--qrcast-muted, #55655e);
  --surface: var(--qrcast-surface, #f3f6f4); --border: var(--qrcast-border, #c5d0ca);
  --good: var(--qrcast-good, #0a7455); --bad: var(--qrcast-bad, #b3261e); --warning: var(--qrcast-warning, #8a5300);
  color-scheme: light;`;

const DARK = `
  --accent: var(--qrcast-accent, #46d3a0); --on-accent: var(--qrcast-on-accent, #06251a);
  --text: var(--qrcast-text, #eaf1ed); --muted: var(--qrcast-muted, #a0b0a8);
  --surface: var(--qrcast-surface, #1f2925); --border: var(--qrcast-border, #3b4943);
  --good: var(--qrcast-good, #46d3a0); --bad: var(--qrcast-bad, #ff9a90); --warning: var(--qrcast-warning, #f0b95a);
  color-scheme: dark;`;

const CSS = `
:host { ${LIGHT}
  --radius: var(--qrcast-radius, 12px);
  display: block; container-type: inline-size; color: var(--text);
  inline-size: 100%; min-inline-size: 0; max-inline-size: var(--qrcast-width, 50rem); margin-inline: auto; contain-intrinsic-inline-size: 17rem;
  font: 16px/1.5 var(--qrcast-font, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif);
}
@media (prefers-color-scheme: dark) { :host { ${DARK} } }
:host([theme="light"]) { ${LIGHT} }
:host([theme="dark"]) { ${DARK} }
:host([hidden]), [hidden] { display: none !important; }
*, *::before { box-sizing: border-box; }
p, h2, ol { margin: 0; }
h2 { font-size: 1.5rem; line-height: 1.25; font-weight: 650; text-wrap: balance; }
h2:focus { outline: none; }
:focus-visible { outline: 3px solid color-mix(in srgb, var(--accent) 70%, transparent); outline-offset: 2px; }
.muted { color: var(--muted); }
.small { font-size: 0.875rem; }
.unseen { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.body { min-block-size: 22rem; display: grid; align-items: center; }
.body > * { animation: appear 0.2s ease-out; }
@keyframes appear { from { opacity: 0; transform: translateY(4px); } }

button, input, a, summary { font: inherit; }
button, a.main { cursor: pointer; }
.main {
  display: inline-flex; justify-content: center; align-items: center; min-block-size: 48px; padding: 0.5rem 1.5rem;
  border: 0; border-radius: var(--radius); background: var(--accent); color: var(--on-accent);
  font-weight: 600; text-align: center; text-decoration: none;
}
.main:hover { background: color-mix(in srgb, var(--accent) 88%, var(--text)); }
.main[aria-disabled="true"] { opacity: 0.6; cursor: default; }
.link {
  min-block-size: 44px; padding: 0.25rem 0; border: 0; background: none; color: var(--accent);
  font-weight: 550; text-align: start; text-decoration: underline; text-underline-offset: 0.25em;
  text-decoration-thickness: 1px;
}
.link:hover { text-decoration-thickness: 2px; }
.plain { min-block-size: 36px; padding: 0 0.9rem; border: 1px solid var(--border); border-radius: 999px; background: none; color: inherit; font-size: 0.875rem; }
.plain:hover { background: var(--surface); }

.split, .single { display: grid; gap: 1.25rem; justify-items: center; }
.split > h2, .single > h2, .single > .muted { text-align: center; }
.stage { display: grid; gap: 0.75rem; align-content: start; inline-size: min(100%, 18rem); }
.plate { position: relative; padding: 2px; background: #fff; overflow: hidden; border-radius: var(--radius); border: 1px solid var(--border); }
.qr { display: block; inline-size: 100%; block-size: auto; aspect-ratio: 1; image-rendering: pixelated; }
.qr.stale { opacity: 0.08; }
.veil { position: absolute; inset: 0; display: grid; place-content: center; justify-items: center; gap: 0.75rem; color: #12211b; font-size: 0.9375rem; }
.track { block-size: 4px; border-radius: 4px; background: var(--surface); overflow: hidden; }
.bar { block-size: 100%; background: var(--accent); border-radius: 4px; transition: inline-size 0.3s linear; }
.meta { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; justify-content: space-between; align-items: center; font-size: 0.9375rem; font-variant-numeric: tabular-nums; }
.steps { padding: 0; list-style: none; counter-reset: step; display: grid; gap: 0.9rem; max-inline-size: 26rem; }
.steps li { counter-increment: step; display: grid; grid-template-columns: 1.75rem 1fr; gap: 0.75rem; align-items: start; }
.steps li::before {
  content: counter(step); inline-size: 1.75rem; block-size: 1.75rem; border-radius: 50%; display: grid; place-content: center;
  font-size: 0.875rem; font-weight: 650; background: color-mix(in srgb, var(--accent) 14%, transparent); color: var(--accent);
}
.how { display: grid; gap: 1.25rem; }
.note { padding: 0.75rem 1rem; border-radius: var(--radius); background: var(--surface); font-size: 0.9375rem; }
.how .hand { max-inline-size: 26rem; border-block-end: 0; }
.hand ul { margin: 0; padding: 0; list-style: none; display: grid; gap: 0.75rem; font-size: 0.9375rem; }
.single > .hand { inline-size: min(100%, 26rem); }
.other { display: flex; flex-wrap: wrap; gap: 0 1.5rem; justify-content: center; }
.problem { padding: 0.75rem 1rem; border-radius: var(--radius); color: var(--bad); background: color-mix(in srgb, var(--bad) 10%, transparent); font-size: 0.9375rem; text-align: start; }

.form { display: grid; gap: 0.5rem; inline-size: min(100%, 24rem); }
.form label { font-weight: 600; }
.form input {
  inline-size: 100%; min-block-size: 52px; padding: 0 1rem; border: 1px solid var(--border); border-radius: var(--radius);
  background: var(--surface); color: inherit; font-size: 1.125rem; font-variant-numeric: tabular-nums;
}
.form input::placeholder { color: var(--muted); opacity: 0.75; }
.form input[aria-invalid="true"] { border-color: var(--bad); }
.form .main { margin-block-start: 0.5rem; }
.single > .muted { max-inline-size: 26rem; }

.code { display: flex; flex-wrap: wrap; justify-content: center; gap: 0.5rem 1rem; }
.half { display: flex; gap: 0.35rem; }
.half b {
  inline-size: clamp(1.9rem, 9cqi, 3rem); aspect-ratio: 3 / 4; display: grid; place-content: center; border: 1px solid var(--border);
  border-radius: calc(var(--radius) * 0.67); background: var(--surface);
  font: 650 clamp(1.35rem, 6cqi, 2rem) / 1 ui-monospace, "SF Mono", "Cascadia Mono", "Roboto Mono", "DejaVu Sans Mono", monospace;
}
.single > .meta { justify-content: center; }

.passkey { inline-size: min(100%, 32rem); margin-inline: auto; padding-block: 0.5rem; }
.single.passkey > .muted { max-inline-size: 30rem; }
.left { text-align: center; font-variant-numeric: tabular-nums; font-weight: 600; }
.way { display: grid; gap: 0.75rem; justify-items: center; text-align: center; max-inline-size: 26rem; }
.way.quiet { padding: 0.9rem 1.1rem; border: 1px solid var(--border); border-radius: var(--radius); background: var(--surface); text-align: start; justify-items: start; }
.hand { inline-size: 100%; border-block: 1px solid var(--border); }
.hand[open] { padding-block-end: 1.25rem; }
.hand > :not(summary) { margin-block-start: 1rem; }
.hand .steps, .hand .form { max-inline-size: none; inline-size: 100%; }
summary { min-block-size: 48px; padding-block: 0.6rem; display: flex; align-items: center; gap: 0.6rem; cursor: pointer; font-weight: 600; list-style: none; }
summary::-webkit-details-marker { display: none; }
summary::before { content: ""; flex: none; inline-size: 0.5rem; block-size: 0.5rem; border: solid var(--accent); border-width: 0 2px 2px 0; rotate: -45deg; }
[dir="rtl"] summary::before { rotate: 135deg; }
[open] > summary::before { rotate: 45deg !important; }
[dir="rtl"] .exit { scale: -1 1; }
textarea {
  display: block; inline-size: 100%; padding: 0.75rem 1rem; border: 1px solid var(--border); border-radius: var(--radius);
  background: var(--surface); color: inherit; font: 0.8125rem/1.45 ui-monospace, "SF Mono", "Cascadia Mono", "Roboto Mono", "DejaVu Sans Mono", monospace;
  resize: vertical; overflow-wrap: anywhere;
}
textarea[aria-invalid="true"] { border-color: var(--bad); }
textarea::placeholder { color: var(--muted); opacity: 0.75; }

.message { display: grid; justify-items: center; gap: 0.75rem; text-align: center; padding-block: 1.5rem; }
.message > p { max-inline-size: 26rem; text-wrap: pretty; }
.buttons { display: grid; justify-items: center; gap: 0.5rem; margin-block-start: 0.75rem; }
.buttons .link { display: inline-flex; align-items: center; text-align: center; }
.sign { --mood: var(--muted); inline-size: 4.5rem; block-size: 4.5rem; margin-block-end: 0.5rem; border-radius: 50%; display: grid; place-content: center; color: var(--mood); background: color-mix(in srgb, var(--mood) 13%, transparent); }
.sign.good { --mood: var(--good); }
.sign.bad { --mood: var(--bad); }
.sign.warning { --mood: var(--warning); }
.sign.progress { --mood: var(--accent); }
.icon { inline-size: 2rem; block-size: 2rem; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
.spinner { animation: turn 0.9s linear infinite; }
@keyframes turn { to { transform: rotate(1turn); } }
.account { display: flex; align-items: center; gap: 0.9rem; padding-block: 0.75rem; padding-inline: 0.75rem 1.25rem; border: 1px solid var(--border); border-radius: var(--radius); background: var(--surface); text-align: start; max-inline-size: 100%; }
.initial { flex: none; inline-size: 2.75rem; block-size: 2.75rem; border-radius: 50%; display: grid; place-content: center; font-weight: 650; font-size: 1.125rem; background: var(--accent); color: var(--on-accent); }
.who { display: grid; min-inline-size: 0; }
.who strong { overflow-wrap: anywhere; }
.notice { min-block-size: 2.125rem; margin-block-start: 0.5rem; }
.notice:not(:empty) { position: sticky; inset-block-end: 0.75rem; inline-size: fit-content; margin-inline: auto; padding: 0.3rem 1rem; border: 1px solid var(--border); border-radius: 1.1rem; background: var(--surface); text-align: center; font-size: 0.875rem; }

@container (min-width: 640px) {
  .split { grid-template: "title stage" auto "how stage" auto "other stage" 1fr / 1fr 18rem; column-gap: 3.5rem; justify-items: start; }
  .split > h2 { grid-area: title; text-align: start; font-size: 1.875rem; }
  .split > .stage { grid-area: stage; }
  .split > .how { grid-area: how; }
  .split > .other { grid-area: other; align-self: end; justify-content: start; }
}
@container (max-width: 359px) { .half { gap: 0.2rem; } .code { gap: 0.5rem 0.6rem; } }
@media (prefers-reduced-motion: reduce) { *, *::before { animation-duration: 3s !important; transition: none !important; } .body > * { animation: none; } }
@media (forced-colors: active) { .main, .half b, .account { border: 1px solid; } .bar { background: Highlight; } }
`;

let sheet;

/** The one sheet that all elements of a page share. */
export function style() {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  return sheet;
}
