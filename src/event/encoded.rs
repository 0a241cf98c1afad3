//! An event as clients see it: its JSON inside one SSE block and one WebSocket text, made once.

use std::sync::Arc;

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{Code, Disconnected, Event, Kind, Me, Missing, PairingError, Passkey, Qr, Time};
use crate::id::SessionId;
use crate::qr;

/// The two encodings of one event. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// `id:`, `event:`, `data:` and the empty line.
    pub sse: Bytes,
    /// One whole text frame, with its header: `{"id":…,"event":…,"data":{…}}`.
    pub websocket: Bytes,
    /// The picture of a QR as a data URL, for those who ask for it. `None` for any other kind.
    pub(crate) qr_data_url: Option<Arc<str>>,
}

impl Encoded {
    pub(super) fn of(event: &Event) -> Self {
        let qr_data_url: Option<Arc<str>> = match &event.kind {
            Kind::Qr(qr) => Some(qr::data_url(&qr.qr_string).into()),
            _ => None,
        };
        let data = data(event, Shown::Whole { qr_data_url: qr_data_url.as_deref() });
        let (at, name) = (event.at, event.kind.name());
        Self {
            sse: format!("id: {at}\nevent: {name}\ndata: {data}\n\n").into(),
            websocket: text_frame(json(event, &data)),
            qr_data_url,
        }
    }

    /// As the feed of all sessions shows it: the id stands in the data, and a QR has neither string nor picture.
    fn in_feed(event: &Event) -> Self {
        let (data, name) = (data(event, Shown::InFeed), event.kind.name());
        Self {
            sse: format!("event: {name}\ndata: {data}\n\n").into(),
            websocket: text_frame(json(event, &data)),
            qr_data_url: None,
        }
    }
}

/// How much of an event is shown.
#[derive(Clone, Copy)]
enum Shown<'a> {
    /// All of it, and the picture of its QR.
    Whole { qr_data_url: Option<&'a str> },
    /// What the feed has of it.
    InFeed,
}

impl Event {
    /// The event as clients see it. The first call encodes it; later calls share the result.
    ///
    /// A QR that waits for a phone was drawn before anybody is shown it ([`Event::drawn`]). One that another has replaced
    /// is drawn here again, where a viewer that comes back has missed it.
    pub fn encoded(&self) -> &Encoded {
        self.encoded.get_or_init(|| match self.kind {
            Kind::Qr(_) => beside_the_workers(|| Encoded::of(self)),
            _ => Encoded::of(self),
        })
    }

    /// The event as the feed of all sessions shows it. The first call encodes it.
    pub(crate) fn in_feed(&self) -> &Encoded {
        self.in_feed.get_or_init(|| Encoded::in_feed(self).into())
    }

    /// The event as a log has it that is read as a whole: the frame of the feed, as JSON.
    pub(crate) fn to_feed_json(&self) -> Box<RawValue> {
        RawValue::from_string(json(self, &data(self, Shown::InFeed)))
            .unwrap_or_else(|error| unreachable!("it was encoded right here: {error}"))
    }

    /// The event as receivers of webhooks get it: the same JSON without the picture of a QR.
    pub(crate) fn to_webhook(&self) -> String {
        json(self, &data(self, Shown::Whole { qr_data_url: None }))
    }

    /// Draws a QR that a phone can still scan, on a thread that no stream waits for. Does nothing with any other event.
    pub(crate) async fn drawn(self: &Arc<Self>) {
        let shows = matches!(self.kind, Kind::Qr(_)) && !self.is_blank() && !self.expired(Time::now());
        if shows && self.encoded.get().is_none() {
            let event = self.clone();
            // Should it panic, the next call of `encoded` does too, where somebody notices.
            let _ = tokio::task::spawn_blocking(move || _ = event.encoded()).await;
        }
    }
}

/// Runs something that takes a millisecond, and lets other threads take over the tasks of this one.
fn beside_the_workers<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(work)
        }
        // A runtime with one thread has nobody to take over.
        _ => work(),
    }
}

/// A WebSocket frame of a server with this text.
pub(crate) fn text_frame(text: String) -> Bytes {
    frame(Frame::message(text, OpCode::Data(Data::Text), true))
}

/// The bytes of a WebSocket frame of a server.
pub(crate) fn frame(frame: Frame) -> Bytes {
    let mut bytes = Vec::with_capacity(frame.len());
    frame.format(&mut bytes).unwrap_or_else(|error| unreachable!("memory takes every byte: {error}"));
    bytes.into()
}

/// The fields that every event has, followed by those of its kind.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "{F}Event")]
struct EventData<'a, F> {
    /// Only in the feed, where the frame of SSE has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    session_id: &'a SessionId,
    at: Time,
    #[serde(flatten)]
    fields: F,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Fields<'a> {
    Qr(WholeQr<'a>),
    QrInFeed(QrInFeed),
    Code(&'a Code),
    PairingError(&'a PairingError),
    Passkey(&'a Passkey),
    Authenticated(Authenticated<'a>),
    Ready(Ready<'a>),
    Disconnected(&'a Disconnected),
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Qr")]
struct WholeQr<'a> {
    #[serde(flatten)]
    qr: &'a Qr,
    /// A PNG. Not stored, because it follows from the string; a webhook is sent without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    qr_data_url: Option<&'a str>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct QrInFeed {
    expires_at: Time,
    attempt: u32,
    max_attempts: u32,
}

#[derive(Serialize, JsonSchema)]
struct Authenticated<'a> {
    me: &'a Me,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Ready<'a> {
    me: &'a Me,
    connected_at: Time,
    /// `true`, or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<Missing>,
}

impl Kind {
    /// The schema of the `data` of this kind, as a session's stream has it, or the feed.
    pub(crate) fn schema(&self, in_feed: bool, schemas: &mut SchemaGenerator) -> Schema {
        match self {
            Kind::Qr(_) if in_feed => schemas.subschema_for::<EventData<'_, QrInFeed>>(),
            Kind::Qr(_) => schemas.subschema_for::<EventData<'_, WholeQr<'_>>>(),
            Kind::Code(_) => schemas.subschema_for::<EventData<'_, Code>>(),
            Kind::PairingError(_) => schemas.subschema_for::<EventData<'_, PairingError>>(),
            Kind::Passkey(_) => schemas.subschema_for::<EventData<'_, Passkey>>(),
            Kind::Authenticated { .. } => schemas.subschema_for::<EventData<'_, Authenticated<'_>>>(),
            Kind::Ready { .. } => schemas.subschema_for::<EventData<'_, Ready<'_>>>(),
            Kind::Disconnected(_) => schemas.subschema_for::<EventData<'_, Disconnected>>(),
        }
    }
}

/// An event in one piece, with its id.
fn json(event: &Event, data: &str) -> String {
    format!(r#"{{"id":"{}","event":"{}","data":{data}}}"#, event.at, event.kind.name())
}

fn data(event: &Event, shown: Shown<'_>) -> String {
    let fields = match &event.kind {
        Kind::Qr(qr) => match shown {
            Shown::Whole { qr_data_url } => Fields::Qr(WholeQr { qr, qr_data_url }),
            Shown::InFeed => Fields::QrInFeed(QrInFeed {
                expires_at: qr.expires_at,
                attempt: qr.attempt,
                max_attempts: qr.max_attempts,
            }),
        },
        Kind::Code(code) => Fields::Code(code),
        Kind::PairingError(error) => Fields::PairingError(error),
        Kind::Authenticated { me } => Fields::Authenticated(Authenticated { me }),
        Kind::Passkey(passkey) => Fields::Passkey(passkey),
        Kind::Ready { me, connected_at, missing } => Fields::Ready(Ready {
            me,
            connected_at: *connected_at,
            incomplete: missing.map(|_| true),
            missing: *missing,
        }),
        Kind::Disconnected(disconnected) => Fields::Disconnected(disconnected),
    };
    let id = matches!(shown, Shown::InFeed).then(|| event.at.to_string());
    let data = EventData { id, session_id: &event.session, at: event.time, fields };
    serde_json::to_string(&data)
        .unwrap_or_else(|error| unreachable!("strings and numbers always encode: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Cursor, Reason, State};

    fn event(kind: Kind) -> Event {
        let now = Time::from_millis(1_763_985_600_000);
        let id = "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11".parse().unwrap();
        Event::new(id, Cursor { epoch: 7, seq: 3 }, now, kind, State::initializing(now, None))
    }

    /// Of an unmasked text frame in one piece (RFC 6455, section 5.2).
    fn payload(frame: &[u8]) -> &[u8] {
        assert_eq!(frame[0], 0x81);
        let header = if frame[1] < 126 { 2 } else { 4 };
        &frame[header..]
    }

    #[test]
    fn both_encodings_carry_the_same_json() {
        let event =
            event(Kind::Disconnected(Disconnected::new(Reason::ConnectionLost, Some("EOF\n\"".into()))));
        let encoded = event.encoded();
        let sse = std::str::from_utf8(&encoded.sse).unwrap();
        let data =
            sse.strip_prefix("id: 7-3\nevent: disconnected\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
        assert!(!data.contains('\n'));
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        let websocket: serde_json::Value = serde_json::from_slice(payload(&encoded.websocket)).unwrap();
        assert_eq!(websocket, serde_json::json!({"id": "7-3", "event": "disconnected", "data": data}));
        assert_eq!(
            data,
            serde_json::json!({
                "sessionId": "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11",
                "at": "2025-11-24T12:00:00.000Z",
                "reason": "connection_lost", "willReconnect": true, "detail": "EOF\n\"",
            })
        );
    }

    #[test]
    fn a_qr_comes_with_its_picture() {
        let qr = Qr {
            qr_string: "2@ref,a,b,c,1".into(),
            expires_at: Time::from_millis(0),
            attempt: 2,
            max_attempts: 6,
        };
        let event = event(Kind::Qr(qr));
        let websocket: serde_json::Value =
            serde_json::from_slice(payload(&event.encoded().websocket)).unwrap();
        let data = &websocket["data"];
        assert_eq!(data["qrString"], "2@ref,a,b,c,1");
        assert_eq!(data["attempt"], 2);
        assert_eq!(data["maxAttempts"], 6);
        assert!(data["qrDataUrl"].as_str().unwrap().starts_with("data:image/png;base64,"));
        assert_eq!(data["qrDataUrl"].as_str(), event.encoded().qr_data_url.as_deref());
    }

    #[test]
    fn the_feed_shows_a_qr_without_what_a_phone_could_scan() {
        let qr = Qr {
            qr_string: "2@ref,a,b,c,1".into(),
            expires_at: Time::from_millis(1_763_985_660_000),
            attempt: 2,
            max_attempts: 6,
        };
        let event = event(Kind::Qr(qr));
        let shown = event.in_feed();
        let data = serde_json::json!({
            "id": "7-3",
            "sessionId": "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11",
            "at": "2025-11-24T12:00:00.000Z",
            "expiresAt": "2025-11-24T12:01:00.000Z", "attempt": 2, "maxAttempts": 6,
        });
        let websocket: serde_json::Value = serde_json::from_slice(payload(&shown.websocket)).unwrap();
        assert_eq!(websocket, serde_json::json!({ "id": "7-3", "event": "qr", "data": data }));
        let sse = std::str::from_utf8(&shown.sse).unwrap();
        let sse = sse.strip_prefix("event: qr\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(sse).unwrap(), data);
        assert!(event.encoded.get().is_none(), "nothing was drawn");
    }

    #[tokio::test]
    async fn only_a_qr_that_can_be_scanned_is_drawn_beforehand() {
        let now = Time::now();
        let event = |qr_string: &str, expires_at| {
            let id = "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11".parse().unwrap();
            let kind = Kind::Qr(Qr { qr_string: qr_string.into(), expires_at, attempt: 1, max_attempts: 6 });
            let state = State::initializing(now, None);
            Arc::new(Event::new(id, Cursor { epoch: 7, seq: 3 }, now, kind, state))
        };
        let soon = Time::from_millis(now.as_millis() + 60_000);
        for (event, drawn) in
            [(event("2@x", soon), true), (event("", soon), false), (event("2@x", now), false)]
        {
            event.drawn().await;
            assert_eq!(event.encoded.get().is_some(), drawn, "{event:?}");
            assert!(event.bare().encoded.get().is_none());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_qr_is_drawn_where_it_was_not_beforehand() {
        let now = Time::now();
        let id = "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11".parse().unwrap();
        let kind = Kind::Qr(Qr { qr_string: "2@x".into(), expires_at: now, attempt: 1, max_attempts: 6 });
        let event = Event::new(id, Cursor { epoch: 7, seq: 3 }, now, kind, State::initializing(now, None));
        assert!(event.encoded().qr_data_url.is_some());
    }
}
