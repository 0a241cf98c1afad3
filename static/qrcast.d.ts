// The types of qrcast.js: what it exports, the element's events, and every event of a session.
//
// Written by hand beside modules without a build step; tests/it/package.rs holds them against qrcast.js and the server.

/** Where a session stands. */
export type Status =
  | "initializing"
  | "scan_qr"
  | "passkey_required"
  | "authenticated"
  | "connected"
  | "reconnecting"
  | "disconnected"
  | "failed";

/** The linked account, as far as it is known. */
export interface Me {
  /** The device's JID, `<number>:<device>@s.whatsapp.net`. */
  id: string;
  pushName: string | null;
  platform: string | null;
}

/** In the data of every event. Times are RFC 3339, UTC. */
interface Common {
  sessionId: string;
  at: string;
}

/** The data of each event, by its name. */
export interface SessionEvents {
  /** A QR to scan. A client that polls does not get all of it. */
  qr: Common & {
    qrString: string;
    /** The same as a PNG. */
    qrDataUrl: string;
    expiresAt: string;
    attempt?: number;
    maxAttempts?: number;
  };
  /** A pairing code to type on the phone. */
  code: Common & { code: string; phoneNumber: string; expiresAt: string };
  /** A phone or WhatsApp refused; the session can still be linked. */
  pairing_error: Common & {
    method: "qr" | "code" | "passkey";
    /** A stable word, such as `code_expired`. */
    code: string;
    detail: string | null;
    retryAfterMs?: number;
  };
  /** WhatsApp asks for a passkey of the account, or for a look at the phone. */
  passkey: Common &
    (
      | { stage: "required"; options: PasskeyOptions; expiresAt: string }
      | { stage: "confirmation"; code: string; automatic: boolean }
    );
  /** A phone has linked the device. */
  authenticated: Common & { me: Me };
  /** The device is online at WhatsApp. */
  ready: Common & { me: Me; connectedAt: string; incomplete?: true; missing?: "keys" | "settings" };
  /** Cut off, for a while (`willReconnect`) or for good. */
  disconnected: Common & {
    /** A stable word, such as `logged_out` or `connection_lost`. */
    reason: string;
    willReconnect: boolean;
    detail: string | null;
    /** A link of WhatsApp's, or a next step. */
    help?: string;
    /** The end of a ban. */
    until?: string;
  };
}

/** `PublicKeyCredentialRequestOptions` as WhatsApp sent them: in JSON, so binary fields are base64url. */
export interface PasskeyOptions {
  challenge: string;
  allowCredentials?: { id: string; type: string; transports?: string[] }[];
  rpId?: string;
  timeout?: number;
  userVerification?: string;
  [field: string]: unknown;
}

/** One event of a session. Narrow it by `event`. */
export type SessionEvent = {
  [Name in keyof SessionEvents]: { id: string; event: Name; data: SessionEvents[Name] };
}[keyof SessionEvents];

export type Transport = "websocket" | "sse" | "polling";

/** The frame that opens a stream. */
export interface OpeningStatus {
  status: Status;
  since?: string;
  resumed?: boolean;
  gap?: boolean;
  me?: Me | null;
  now?: string;
}

/** How the connection to the server is. */
export type ConnectionState =
  | { phase: "connecting"; transport: Transport }
  | { phase: "open"; transport: Transport; status: OpeningStatus }
  | { phase: "waiting"; transport: Transport; retryInMs: number }
  /** The session has ended. */
  | { phase: "ended" }
  /** Refused for good. */
  | { phase: "failed"; error: ApiError }
  /** By `close()`. */
  | { phase: "closed" };

/** A newer token, for the same session. */
export interface NewToken {
  token: string;
  expiresAt: string;
}

/** A stream token, or a function that fetches one. */
export type TokenSource = string | (() => string | undefined | Promise<string | undefined>);

export interface SubscribeOptions {
  /** Where the server is; by default where this script came from. Needed in Node and in a bundle. */
  baseUrl?: string | URL;
  token?: TokenSource;
  onEvent?: (event: SessionEvent) => void;
  onState?: (state: ConnectionState) => void;
  /** To keep the token for a reload. */
  onToken?: (token: NewToken) => void;
  /** The cursor to resume from. */
  lastEventId?: string;
  /** Which, in which order; all three by default. */
  transports?: readonly Transport[];
  /** To use instead of the global one; `undefined` for none. */
  WebSocket?: typeof WebSocket | undefined;
  fetch?: typeof fetch;
  pollMs?: number;
  openMs?: number;
  silenceMs?: number;
  pollForMs?: number;
}

export interface Subscription {
  close(): void;
  /** The server's time in milliseconds. */
  now(): number;
  readonly lastEventId: string | undefined;
  /** For the event `passkey`: a browser's credential, or its JSON. Throws ApiError. */
  answerPasskey(credential: PublicKeyCredential | Credential): Promise<void>;
  /** The person saw the same code on the phone. Throws ApiError. */
  confirmPasskey(): Promise<void>;
}

/** Follows a session until it ends. Events come once each, in order, whatever happens to the connection. */
export function subscribe(sessionId: string, options?: SubscribeOptions): Subscription;

/** A refusal of the server, or no answer at all (`status` 0, `code` `UNREACHABLE`). */
export class ApiError extends Error {
  constructor(refusal: {
    status: number;
    code: string;
    message?: string;
    details?: unknown;
    retryAfterMs?: number;
  });
  readonly status: number;
  /** A stable word. */
  readonly code: string;
  readonly details?: any;
  readonly retryAfterMs?: number;
  /** Whether a retry can never help. */
  get isFinal(): boolean;
}

/** A credential as JSON, with exactly the fields that WhatsApp is sent. */
export interface Credential {
  id: string;
  rawId: string;
  type: string;
  response: {
    clientDataJSON: string;
    authenticatorData: string;
    signature: string;
    userHandle?: string | null;
  };
}

/** A credential of a browser, or its JSON, with exactly the fields that WhatsApp is sent. */
export function onlyNeeded(credential: PublicKeyCredential | Credential): Credential;
/** The credential in a text that a person pasted, as the answer to these options; throws an AnswerError. */
export function readAnswer(pasted: string, options: PasskeyOptions): Credential;
/** What to run in the console of web.whatsapp.com: it uses the passkey there, then copies and prints the answer. */
export function snippet(options: PasskeyOptions): string;

/** A pasted text that is not an answer. */
export class AnswerError extends Error {
  constructor(code: AnswerError["code"]);
  readonly code: "empty" | "snippet" | "unreadable" | "incomplete" | "elsewhere" | "old";
}

/** The browser extension for the passkey step, as this page sees it. */
export class Extension {
  constructor(options?: { onChange?: () => void });
  get isHere(): boolean;
  /** The credential for the options of an event `passkey`; an ExtensionError when none comes. */
  ask(options: PasskeyOptions, how?: { signal?: AbortSignal }): Promise<Credential>;
  close(): void;
}

/** Why the extension brought no passkey. */
export class ExtensionError extends Error {
  constructor(error: { code: string; message: string });
  readonly code: string;
}

/** Every text of the element and of the live page, by its name; `{name}` in it is filled in. */
export type Words = Record<string, any>;
export const english: Readonly<Words>;

/** The element's events. They bubble, and cross shadow roots. */
export interface QrcastLinkEventMap {
  "qrcast-event": CustomEvent<SessionEvent>;
  "qrcast-state": CustomEvent<ConnectionState>;
  "qrcast-token": CustomEvent<NewToken>;
  "qrcast-view": CustomEvent<{ view: string | undefined }>;
}

/** What may be written on the element: attributes, and the properties that take more than a text. */
export interface QrcastLinkAttributes {
  session?: string;
  token?: TokenSource;
  "base-url"?: string;
  /** `ar`, `de`, `en`, `es`, `fr`, `hi`, `id`, `pt` or `tr`; by default that of the page around it, else the reader's. */
  lang?: string;
  "start-over"?: string;
  /** Where a button leads when the account is linked. */
  "return-url"?: string;
  extension?: string;
  theme?: "light" | "dark";
  words?: Words;
  restart?: () => unknown;
}

/** `<qrcast-link session="…" token="…">`: the whole experience of linking, in one element. */
export class QrcastLink extends HTMLElement {
  static observedAttributes: string[];
  get token(): TokenSource | undefined;
  set token(token: TokenSource | undefined);
  /** Your own words: replaces what it names, in any language. */
  get words(): Words;
  set words(words: Words);
  /** What is shown. */
  get view(): string | undefined;
  /** Starts the session again in the page's way. A token may not where an account is linked. */
  restart?: () => unknown;

  addEventListener<Name extends keyof QrcastLinkEventMap>(
    type: Name,
    listener: (this: QrcastLink, event: QrcastLinkEventMap[Name]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener<Name extends keyof HTMLElementEventMap>(
    type: Name,
    listener: (this: QrcastLink, event: HTMLElementEventMap[Name]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<Name extends keyof QrcastLinkEventMap>(
    type: Name,
    listener: (this: QrcastLink, event: QrcastLinkEventMap[Name]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener<Name extends keyof HTMLElementEventMap>(
    type: Name,
    listener: (this: QrcastLink, event: HTMLElementEventMap[Name]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | EventListenerOptions,
  ): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "qrcast-link": QrcastLink;
  }
  // They bubble, so a page may listen to them anywhere.
  interface HTMLElementEventMap extends QrcastLinkEventMap {}
  interface DocumentEventMap extends QrcastLinkEventMap {}
  interface WindowEventMap extends QrcastLinkEventMap {}
}
