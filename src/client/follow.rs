//! Follows a stream of events over SSE as docs/protocol.md says: it comes back with its cursor, keeps the pauses that it is
//! told, and stops at the end. `link` and `events` read it.

use std::time::Duration;

use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};

use super::api::{Api, chunk};
use super::failure::Failure;
use super::words::escaped;
use crate::backoff::{self, Backoff};

/// A quiet stream says something every 15 s. After this the connection is dead.
const SILENCE: Duration = Duration::from_secs(45);

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(15) };

/// One frame, with or without an id.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Frame {
    pub(super) id: Option<String>,
    pub(super) event: String,
    /// JSON on one line.
    pub(super) data: String,
}

impl Frame {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_default()
    }

    /// Whether nothing follows it in its session, unless somebody restarts that.
    fn is_last(&self) -> bool {
        let data = if self.event == "disconnected" { self.json() } else { Value::Null };
        data["willReconnect"] == false && data["reason"] != "qr_exhausted"
    }
}

pub(super) enum Told {
    Frame(Frame),
    /// The stream is cut, for this reason, and comes back by itself.
    Cut(String),
    Ended,
}

pub(super) struct Follower<'a> {
    api: &'a Api,
    path: String,
    cursor: Option<String>,
    open: Option<Incoming>,
    lines: Lines,
    /// Before this it does not come back.
    rest: Instant,
    failures: u32,
    /// Whether a stream was open once: what cannot be reached at all is no cut.
    began: bool,
    last: bool,
}

impl<'a> Follower<'a> {
    /// Of all sessions, or of one.
    pub(super) fn new(api: &'a Api, session: Option<&str>) -> Self {
        let path = session
            .map_or_else(|| "/api/events".to_owned(), |id| format!("/api/sessions/{}/events", escaped(id)));
        let (lines, rest) = (Lines::default(), Instant::now());
        Self { api, path, cursor: None, open: None, lines, rest, failures: 0, began: false, last: false }
    }

    /// What comes next. A call that is given up loses no event, but opens the stream anew.
    pub(super) async fn next(&mut self) -> Result<Told, Failure> {
        loop {
            let Some(body) = &mut self.open else {
                sleep_until(self.rest).await;
                match self.api.stream(&self.path, self.cursor.as_deref()).await {
                    Ok(Some(body)) => (self.open, self.began) = (Some(body), true),
                    Ok(None) => return Ok(Told::Ended),
                    Err(failure) if self.began && failure.exit == Failure::UNAVAILABLE => {
                        return Ok(self.cut("the server does not answer".into()));
                    }
                    Err(failure) => return Err(failure),
                }
                continue;
            };
            if let Some(frame) = self.lines.next() {
                return Ok(self.hear(frame));
            }
            match timeout(SILENCE, chunk(body)).await {
                Ok(Some(Ok(bytes))) => self.lines.bytes.extend_from_slice(&bytes),
                _ if self.last => return Ok(Told::Ended),
                _ => return Ok(self.cut("the connection to the server was cut".into())),
            }
        }
    }

    fn hear(&mut self, frame: Frame) -> Told {
        self.failures = 0;
        if frame.event == "drain" {
            let data = frame.json();
            let pause = Duration::from_millis(data["retryAfterMs"].as_u64().unwrap_or(1000));
            let code = data["code"].as_str().unwrap_or_default();
            let cut = self.cut(format!("the server asks to come back later ({code})"));
            self.rest = Instant::now() + pause.mul_f64(1.0 + backoff::random() / 10.0);
            return cut;
        }
        self.cursor = frame.id.clone().or(self.cursor.take());
        self.last = frame.id.is_some() && frame.is_last();
        Told::Frame(frame)
    }

    fn cut(&mut self, why: String) -> Told {
        self.failures += 1;
        (self.open, self.lines) = (None, Lines::default());
        self.rest = Instant::now() + BACKOFF.after(self.failures).mul_f64(0.5 + backoff::random() / 2.0);
        Told::Cut(why)
    }
}

/// Bytes of a stream, read as frames.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    frame: Frame,
}

impl Lines {
    /// The next frame that is there as a whole.
    fn next(&mut self) -> Option<Frame> {
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let frame = std::mem::take(&mut self.frame);
                if !frame.data.is_empty() {
                    return Some(frame);
                }
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "id" => self.frame.id = Some(value),
                "event" => self.frame.event = value,
                "data" => self.frame.data = value,
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_however_the_bytes_come() {
        let text = "retry: 2000\nevent: status\ndata: {\"now\":1}\n\n: keep-alive\nid: 7-3\r\nevent: qr\r\ndata: {}\r\n\r\nid: 7-4\ndata: {";
        let frame = |id: Option<&str>, event: &str, data: &str| Frame {
            id: id.map(str::to_owned),
            event: event.into(),
            data: data.into(),
        };
        for size in 1..text.len() {
            let (mut lines, mut frames) = (Lines::default(), Vec::new());
            for bytes in text.as_bytes().chunks(size) {
                lines.bytes.extend_from_slice(bytes);
                frames.extend(std::iter::from_fn(|| lines.next()));
            }
            // The one that is not whole is none.
            assert_eq!(frames, [frame(None, "status", r#"{"now":1}"#), frame(Some("7-3"), "qr", "{}")]);
        }
    }

    #[test]
    fn only_an_end_is_the_last() {
        let is_last =
            |data: &str| Frame { id: None, event: "disconnected".into(), data: data.into() }.is_last();
        assert!(is_last(r#"{"reason":"logged_out","willReconnect":false}"#));
        assert!(!is_last(r#"{"reason":"qr_exhausted","willReconnect":false}"#));
        assert!(!is_last(r#"{"reason":"connection_lost","willReconnect":true}"#));
    }
}
