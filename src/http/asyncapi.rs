//! The streams as one AsyncAPI 3 document: which frames come over them, with the schema of each and one that was really encoded.
//! `openapi.rs` describes the calls.

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::describe::{Answer, Content, Operation, schema_settings};
use crate::close::Close;
use crate::event::{
    Code, Cursor, Disconnected, Event, Kind, Me, PairingError, PairingMethod, PairingRefusal, Passkey, Qr,
    Reason, State, Time,
};
use crate::stream::Opening;

/// `GET /asyncapi.json`
pub(super) const ASYNCAPI: Operation = Operation::new(
    "getAsyncApi",
    "The streams, described",
    &[Answer::ok("AsyncAPI 3", &[Content::json::<Value>("")]), Answer::UNCHANGED],
);

/// The four streams: name, path, whether it is the feed of all sessions, whether it is a WebSocket.
const STREAMS: [(&str, &str, bool, bool); 4] = [
    ("session", "/api/sessions/{id}/events", false, false),
    ("sessionByWebSocket", "/api/sessions/{id}/ws", false, true),
    ("feed", "/api/events", true, false),
    ("feedByWebSocket", "/api/ws", true, true),
];

/// The document.
pub(super) fn document() -> Value {
    let mut schemas = schema_settings().for_serialize().into_generator();
    let (mut channels, mut operations) = (Map::new(), Map::new());
    for (name, path, is_feed, is_websocket) in STREAMS {
        let mut messages = Map::new();
        for kind in kinds() {
            let frame = event_frame(&kind, is_feed, is_websocket, &mut schemas);
            messages.insert(kind.name().to_owned(), frame);
        }
        for (frame, data, example) in control_frames(is_feed, is_websocket, &mut schemas) {
            let payload = if is_websocket { framed(frame, &data, false) } else { data };
            let example = if is_websocket { json!({ "event": frame, "data": example }) } else { example };
            messages.insert(frame.to_owned(), message(frame, &payload, &example));
        }
        channels.insert(name.to_owned(), channel(path, messages));
        operations.insert(
            format!("send{}{}", name[..1].to_uppercase(), &name[1..]),
            json!({ "action": "send", "channel": { "$ref": format!("#/channels/{name}") } }),
        );
    }
    channels.insert("webhooks".to_owned(), webhooks(&mut schemas));
    operations.insert(
        "postWebhook".to_owned(),
        json!({ "action": "send", "channel": { "$ref": "#/channels/webhooks" } }),
    );
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "qrcast",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Over Server-Sent Events a message is the `data` of an event, whose name is the message's; over WebSocket \
                it is a text frame. Ignore what you do not know. The calls are described by /openapi.json.",
            "license": { "name": "MIT" },
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "schemas": schemas.take_definitions(true) },
    })
}

fn channel(path: &str, messages: Map<String, Value>) -> Value {
    let mut channel = json!({ "address": path, "messages": messages });
    if path.contains("{id}") {
        channel["parameters"] = json!({ "id": { "description": "The session" } });
    }
    channel
}

fn message(name: &str, payload: &Value, example: &Value) -> Value {
    json!({ "name": name, "payload": payload, "examples": [{ "payload": example }] })
}

/// What is posted to receivers, signed as Standard Webhooks has it.
fn webhooks(schemas: &mut SchemaGenerator) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let headers = json!({
        "type": "object",
        "required": ["webhook-id", "webhook-timestamp", "webhook-signature"],
        "properties": {
            "webhook-id": text("`<sessionId>:<eventId>`, the same at each try"),
            "webhook-timestamp": text("When this try began, Unix time in seconds"),
            "webhook-signature": text("`v1,` and HMAC-SHA256 of `id.timestamp.body` in Base64; several, with a space between them"),
        },
    });
    let messages = kinds().into_iter().map(|kind| {
        let payload = framed(kind.name(), &json!(kind.schema(false, schemas)), true);
        let shown: Value = serde_json::from_str(&example(&kind).to_webhook()).unwrap_or_default();
        let mut message = message(kind.name(), &payload, &shown);
        message["headers"] = headers.clone();
        (kind.name().to_owned(), message)
    });
    json!({
        "address": null,
        "description": "Each event is posted to every receiver, at least once, without the picture of a QR",
        "messages": messages.collect::<Map<_, _>>(),
    })
}

/// A WebSocket's text frame around some data; a control frame has no id.
fn framed(event: &str, data: &Value, has_id: bool) -> Value {
    let mut frame = json!({
        "type": "object",
        "required": ["event", "data"],
        "properties": { "event": { "const": event }, "data": data },
    });
    if has_id {
        frame["properties"]["id"] = json!({ "type": "string", "pattern": "^[0-9]+-[0-9]+$" });
        frame["required"] = json!(["id", "event", "data"]);
    }
    frame
}

fn event_frame(kind: &Kind, is_feed: bool, is_websocket: bool, schemas: &mut SchemaGenerator) -> Value {
    let data = json!(kind.schema(is_feed, schemas));
    let event = example(kind);
    let encoded = if is_feed { event.in_feed() } else { event.encoded() };
    // As it is encoded: the last line of the block of SSE.
    let sse = String::from_utf8_lossy(&encoded.sse);
    let shown = sse.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default();
    let shown: Value = serde_json::from_str(shown).unwrap_or_default();
    if !is_websocket {
        return message(kind.name(), &data, &shown);
    }
    let shown = json!({ "id": event.at.to_string(), "event": kind.name(), "data": shown });
    message(kind.name(), &framed(kind.name(), &data, true), &shown)
}

/// What is said beside the events: name, schema, example.
fn control_frames(
    is_feed: bool,
    is_websocket: bool,
    schemas: &mut SchemaGenerator,
) -> Vec<(&'static str, Value, Value)> {
    let time = "2025-11-24T12:00:00.000Z";
    let mut frames = vec![(
        "drain",
        json!({
            "type": "object",
            "description": "Come back later; the end follows",
            "required": ["retryAfterMs", "code"],
            "properties": {
                "retryAfterMs": { "type": "integer", "minimum": 0 },
                "code": { "enum": Close::DRAIN_CODES },
            },
        }),
        json!({ "retryAfterMs": 1000, "code": "DRAINING" }),
    )];
    if !is_feed {
        let opening = json!({
            "status": "connected", "since": time, "resumed": false, "gap": false, "me": me(), "now": time,
        });
        frames.push(("status", json!(schemas.subschema_for::<Opening>()), opening));
    }
    if is_websocket {
        let schema = json!({
            "type": "object", "description": "A sign of life, every 25 s", "required": ["now"],
            "properties": { "now": { "type": "string", "format": "date-time" } },
        });
        frames.push(("heartbeat", schema, json!({ "now": time })));
    }
    frames
}

fn example(kind: &Kind) -> Event {
    let session = "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11".parse();
    let session = session.unwrap_or_else(|_| unreachable!("it is one"));
    let (at, time) = (Cursor { epoch: 1_763_985_600_000, seq: 3 }, Time::from_millis(1_763_985_600_000));
    Event::new(session, at, time, kind.clone(), State::initializing(time, None))
}

fn me() -> Me {
    Me {
        id: "905551112233:1@s.whatsapp.net".to_owned(),
        push_name: Some("Ada".to_owned()),
        platform: Some("android".to_owned()),
    }
}

/// One of each kind.
fn kinds() -> [Kind; 7] {
    let time = Time::from_millis(1_763_985_660_000);
    [
        Kind::Qr(Qr {
            qr_string: "2@ref,noise,identity,secret,1".to_owned(),
            expires_at: time,
            attempt: 1,
            max_attempts: 6,
        }),
        Kind::Code(Code {
            code: "ABCD-1234".to_owned(),
            phone_number: "905551112233".to_owned(),
            expires_at: time,
        }),
        Kind::PairingError(PairingError {
            method: PairingMethod::Code,
            code: PairingRefusal::RateOverlimit,
            detail: "429 rate-overlimit".to_owned(),
            retry_after_ms: Some(60_000),
        }),
        Kind::Passkey(Passkey::Confirmation { code: "ABCD-EFGH".to_owned(), automatic: false }),
        Kind::Authenticated { me: me() },
        Kind::Ready { me: me(), connected_at: time, missing: None },
        Kind::Disconnected(Disconnected::new(Reason::ConnectionLost, Some("EOF".to_owned()))),
    ]
}
