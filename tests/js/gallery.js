// Every view of `<qrcast-link>` in one language, one below the other, in the page that runs it. An expression: a function of
// the language, which gives back what does not fit. Run by tests/it/page/words.rs.

async (lang) => {
  const [{ draw }, { load, whyRefused }, { style }, passkeyViews] = await Promise.all(
    ["views", "words", "style", "passkey-views"].map((name) => import(`/qrcast/${name}.js`)),
  );
  const spoken = await load(lang);
  const { words } = spoken;
  const soon = new Date(Date.now() + 45_000).toISOString();
  const me = { id: "905551234567:3@s.whatsapp.net", pushName: "Ada Lovelace", platform: "android" };
  const picture = document.createElement("canvas").toDataURL();
  const qr = { qrDataUrl: picture, expiresAt: soon, attempt: 1, maxAttempts: 6 };
  const code = { code: "ABCD-1234", phoneNumber: "905551234567", expiresAt: soon };
  const step = { phase: "required", options: { challenge: "AAEC" }, expiresAt: soon, hasExtension: false };
  const cut = (reason, more) => ({ status: "disconnected", cut: { reason, detail: "463", ...more } });
  const passkey = (more) => ({ status: "passkey_required", step: { ...step, ...more } });
  const scenes = [
    { status: "initializing" },
    { status: "scan_qr", qr },
    { status: "scan_qr", qr, isPhone: true, isTwice: true },
    { status: "scan_qr", method: "phone", problem: { method: "code", code: "bad_request" } },
    { status: "scan_qr", method: "phone", isPhone: true, problem: { method: "code", code: "rate_overlimit", until: Date.now() + 60_000 } },
    { status: "scan_qr", method: "phone", code },
    { status: "scan_qr", method: "phone", code: { ...code, expiresAt: new Date(0).toISOString() } },
    { status: "authenticated", me },
    { status: "connected", me, ready: {}, returnUrl: "https://shop.example.com/account" },
    { status: "connected", me, ready: { incomplete: true, missing: "keys" } },
    passkey({}),
    passkey({ hasExtension: true, problem: { code: "extension_not_allowed" } }),
    { ...passkey({ problem: { code: "answer_unreadable" } }), isOpen: true },
    { ...passkey({}), isPhone: true },
    passkey({ phase: "asking" }),
    passkey({ phase: "sent" }),
    passkey({ phase: "confirmation", code: "ABCD-1234" }),
    { status: "passkey_required", isPolled: true },
    { status: "reconnecting", me, offlineMs: 20_000 },
    { status: "reconnecting", cut: { reason: "client_outdated", help: "https://faq.whatsapp.com/1" }, me },
    { status: "reconnecting", cut: { reason: "whatsapp_unreachable" } },
    ...["qr_exhausted", "logged_out", "replaced", "deleted", "client_outdated", "rejected"].map((reason) => cut(reason)),
    cut("banned", { until: "2027-01-31T18:00:00Z", help: "https://faq.whatsapp.com/1" }),
    { ...cut("replaced"), problem: { method: "restart", code: "not_allowed" }, returnUrl: "https://shop.example.com/" },
    { refusal: { status: 404 } },
    { refusal: { status: 401, code: "TOKEN_EXPIRED" } },
    { refusal: { status: 401 } },
    { refusal: { status: 500, code: "STORE_DAMAGED" } },
  ];
  document.documentElement.dir = spoken.dir;
  const main = document.querySelector("main");
  const cards = scenes.map((scene) => {
    const host = document.createElement("div");
    const card = document.createElement("section");
    card.className = "card wide";
    card.style.marginBlock = "12px";
    card.append(host);
    return { scene, host, card };
  });
  main.replaceChildren(...cards.map(({ card }) => card));
  for (const { scene, host } of cards) {
    const root = host.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [style()];
    const defaults = { spoken, words, passkeyViews, method: "qr", number: "", busy: false, offlineMs: 0, startOver: "./", extensionAddress: null };
    const actions = new Proxy({}, { get: () => () => {} });
    draw(root, undefined, { ...defaults, now: Date.now(), why: (word) => whyRefused(words, word), ...scene }, actions);
    for (const details of root.querySelectorAll(scene.isOpen ? "details" : "[part=trouble]")) details.open = true;
  }
  await document.fonts.ready;
  await new Promise((done) => setTimeout(done, 400));
  const isCut = (node) => node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).display !== "inline" && node.clientWidth > 1;
  const cutOff = cards.flatMap(({ host }) =>
    [...host.shadowRoot.querySelectorAll("*:not(svg, svg *, textarea)")].filter(isCut).map((node) => `${node.className}: ${node.textContent}`),
  );
  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth > clientWidth) cutOff.push(`the page is ${scrollWidth} wide`);
  // For a picture of all of them: as wide as they were, side by side.
  const width = cards[0].card.offsetWidth;
  const columns = width < 400 ? 7 : 3;
  Object.assign(main.style, { display: "grid", gridTemplateColumns: `repeat(${columns}, ${width}px)`, gap: "12px", inlineSize: "auto", maxInlineSize: "none", alignSelf: "start" });
  for (const { card } of cards) card.style.inlineSize = `${width}px`;
  return { cutOff, views: cards.length, width: columns * (width + 12) + 80, height: document.documentElement.scrollHeight };
}
