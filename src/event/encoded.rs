//! An event as clients see it: its JSON inside one SSE block and one WebSocket text, made once.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
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
        let data = data(event, qr_data_url.as_deref());
        let (at, name) = (event.at, event.kind.name());
        Self {
            sse: format!("id: {at}\nevent: {name}\ndata: {data}\n\n").into(),
            websocket: text_frame(json(event, &data)),
            qr_data_url,
        }
    }
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

    /// The event as receivers of webhooks get it: the same JSON without the picture of a QR.
    pub(crate) fn to_webhook(&self) -> String {
        json(self, &data(self, None))
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
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventData<'a> {
    session_id: &'a SessionId,
    at: Time,
    #[serde(flatten)]
    fields: Fields<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Fields<'a> {
    #[serde(rename_all = "camelCase")]
    Qr {
        #[serde(flatten)]
        qr: &'a Qr,
        /// Not stored, because it follows from the string. A webhook is sent without it.
        #[serde(skip_serializing_if = "Option::is_none")]
        qr_data_url: Option<&'a str>,
    },
    Code(&'a Code),
    PairingError(&'a PairingError),
    Passkey(&'a Passkey),
    Authenticated {
        me: &'a Me,
    },
    #[serde(rename_all = "camelCase")]
    Ready {
        me: &'a Me,
        connected_at: Time,
        /// `true`, or absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        incomplete: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        missing: Option<Missing>,
    },
    Disconnected(&'a Disconnected),
}

/// An event in one piece, with its id.
fn json(event: &Event, data: &str) -> String {
    format!(r#"{{"id":"{}","event":"{}","data":{data}}}"#, event.at, event.kind.name())
}

fn data(event: &Event, qr_data_url: Option<&str>) -> String {
    let fields = match &event.kind {
        Kind::Qr(qr) => Fields::Qr { qr, qr_data_url },
        Kind::Code(code) => Fields::Code(code),
        Kind::PairingError(error) => Fields::PairingError(error),
        Kind::Authenticated { me } => Fields::Authenticated { me },
        Kind::Passkey(passkey) => Fields::Passkey(passkey),
        Kind::Ready { me, connected_at, missing } => Fields::Ready {
            me,
            connected_at: *connected_at,
            incomplete: missing.map(|_| true),
            missing: *missing,
        },
        Kind::Disconnected(disconnected) => Fields::Disconnected(disconnected),
    };
    let data = EventData { session_id: &event.session, at: event.time, fields };
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
