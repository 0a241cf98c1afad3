//! How far one receiver is with one session, and what an answer makes of that. Pure: it neither waits nor stores.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::backoff::Backoff;
use crate::event::{Cursor, Event, Kind, Time};
use crate::log::LogTail;

/// The pauses after failures in a row of one event.
const RETRY: Backoff = Backoff { first: Duration::from_secs(5), longest: Duration::from_secs(3600) };

/// How long one event is tried, from its first failure on.
pub(super) const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// A pause is longer or shorter by up to this part of it, so that what failed together does not come back together.
const JITTER: f64 = 0.2;

/// What is stored of a receiver and a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Standing {
    /// The last event that needs nothing more; what the log has after it waits.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub(crate) cursor: Option<Cursor>,
    /// How often the next event has failed.
    pub(crate) tries: u32,
    /// When it failed first.
    pub(crate) since: Option<Time>,
    /// When it is tried again.
    pub(crate) next: Option<Time>,
    /// Why the last try failed.
    pub(crate) error: Option<String>,
    /// When the receiver last took an event.
    pub(crate) delivered: Option<Time>,
    /// It answered 410: nothing is sent until somebody asks for it.
    pub(crate) gone: bool,
    /// Events that it did not get: given up, or trimmed from the log before their turn.
    pub(crate) lost: u64,
}

/// A try that failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// For people; nothing of the URL.
    pub(super) why: String,
    /// How long the receiver wants to be left alone.
    pub(super) wait: Duration,
    /// A random number from 0 to 1.
    pub(super) luck: f64,
}

/// What becomes of an event that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It is tried again.
    Again,
    /// It was tried for long enough; the next one follows.
    GivenUp,
}

impl Standing {
    /// What was stored; the beginning where that is damaged or nothing, so that an event may come twice and is not left out.
    pub(super) fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self)
            .unwrap_or_else(|error| unreachable!("texts and numbers always encode: {error}"))
    }

    /// The word that people are told.
    pub(crate) fn state(&self) -> &'static str {
        match self {
            Self { gone: true, .. } => "gone",
            Self { tries: 1.., .. } => "failing",
            _ => "ok",
        }
    }

    /// Whether the receiver has had everything up to this event.
    pub(super) fn is_done(&self, last: Option<Cursor>) -> bool {
        last.is_none_or(|last| self.cursor.is_some_and(|cursor| cursor >= last))
    }

    /// This event needs nothing more.
    pub(super) fn pass(&mut self, at: Cursor) {
        *self = Self { cursor: Some(at), tries: 0, since: None, next: None, ..std::mem::take(self) };
    }

    /// The receiver took this event.
    pub(super) fn took(&mut self, at: Cursor, now: Time) {
        self.pass(at);
        self.delivered = Some(now);
        self.error = None;
    }

    /// The next event failed. All pauses are `speed` times shorter.
    pub(super) fn failed(&mut self, at: Cursor, failure: Failure, now: Time, speed: f64) -> Failed {
        let Failure { why, wait, luck } = failure;
        let since = *self.since.get_or_insert(now);
        self.error = Some(why);
        if since.elapsed(now) >= PATIENCE.div_f64(speed) {
            self.lost += 1;
            self.pass(at);
            return Failed::GivenUp;
        }
        self.tries = self.tries.saturating_add(1);
        let pause = RETRY.after(self.tries).mul_f64(1.0 + JITTER * (2.0 * luck - 1.0));
        self.next = Some(now.after(pause.max(wait.min(RETRY.longest)).div_f64(speed)));
        Failed::Again
    }

    /// Sends again from this event on.
    pub(super) fn resend(&mut self, after: Cursor) {
        self.pass(after);
        self.gone = false;
    }

    /// How many events the log no longer has that were to be sent: at least so many where an epoch's end is gone.
    pub(super) fn missing(&self, log: &LogTail) -> u64 {
        let (Some(cursor), Some(trimmed)) = (self.cursor, log.trimmed) else { return 0 };
        let next = log.events.first().map_or(trimmed, |event| event.at);
        if trimmed <= cursor || next == cursor.next() {
            return 0;
        }
        if next.epoch == cursor.epoch { next.seq - cursor.seq - 1 } else { next.seq.saturating_sub(1).max(1) }
    }
}

/// Whether an event is of no use any more to whoever gets it.
pub(super) fn is_stale(event: &Event, now: Time) -> bool {
    event.is_blank() || (matches!(event.kind, Kind::Qr(_) | Kind::Code(_)) && event.expired(now))
}

fn as_text<S: Serializer>(cursor: &Option<Cursor>, serializer: S) -> Result<S::Ok, S::Error> {
    cursor.map(|cursor| cursor.to_string()).serialize(serializer)
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cursor>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: u64) -> Cursor {
        Cursor { epoch: 7, seq }
    }

    fn failure(seconds: u64, luck: f64) -> Failure {
        Failure { why: "HTTP 500".into(), wait: Duration::from_secs(seconds), luck }
    }

    #[test]
    fn it_reads_back_and_what_is_damaged_begins_again() {
        let mut standing = Standing::default();
        standing.took(at(3), Time::from_millis(7));
        standing.failed(at(4), failure(0, 0.5), Time::from_millis(9), 1.0);
        assert_eq!(Standing::read(&standing.to_text()), standing);
        for damaged in ["", "[]", "{\"cursor\":7}", "{\"cursor\":\"x\"}"] {
            assert_eq!(Standing::read(damaged), Standing::default(), "{damaged}");
        }
        // A field of a later version is nothing to this one.
        assert_eq!(Standing::read(r#"{"cursor":"7-3","later":1}"#).cursor, Some(at(3)));
    }

    #[test]
    fn an_event_is_tried_for_a_day_and_then_given_up() {
        let (mut standing, mut now, mut tries) = (Standing::default(), Time::from_millis(0), 0);
        standing.took(at(1), now);
        while standing.failed(at(2), failure(0, f64::from(tries % 3) / 2.0), now, 1.0) == Failed::Again {
            tries += 1;
            let pause = standing.next.unwrap().remaining(now);
            let expected = RETRY.after(tries);
            assert!(pause >= expected.mul_f64(0.79) && pause <= expected.mul_f64(1.21), "{tries}: {pause:?}");
            now = standing.next.unwrap();
        }
        assert!((29..45).contains(&tries), "{tries}");
        assert!(
            now >= Time::from_millis(0).after(PATIENCE)
                && now < Time::from_millis(0).after(PATIENCE * 21 / 20)
        );
        assert_eq!(
            (standing.cursor, standing.tries, standing.lost, standing.since),
            (Some(at(2)), 0, 1, None)
        );
        assert_eq!((standing.state(), standing.error.as_deref()), ("ok", Some("HTTP 500")));
    }

    #[test]
    fn a_receiver_may_ask_to_be_left_alone_for_an_hour_at_most() {
        for (asked, least, most) in [(60, 60, 60), (0, 4, 6), (1_000_000, 3600, 3600)] {
            let mut standing = Standing::default();
            standing.failed(at(1), failure(asked, 0.5), Time::from_millis(0), 1.0);
            let pause = standing.next.unwrap().as_millis() / 1000;
            assert!((least..=most).contains(&pause), "{asked}: {pause}");
        }
    }
}
