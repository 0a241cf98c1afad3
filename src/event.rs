//! The facts of a session and their JSON: what happened, its id, and the state right after it.
//!
//! An [`Event`] is immutable and numbered by the session's owner alone. It carries the state it made, so the last
//! event is the snapshot. Nothing here depends on channels, stores or browsers; all other modules use these types.

mod encoded;
mod kind;
mod time;

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::encoded::Encoded;
pub(crate) use self::encoded::{frame, text_frame};
pub use self::kind::{
    Assertion, Code, Disconnected, Kind, Me, Missing, PairingError, PairingMethod, PairingRefusal, Passkey,
    Qr, Reason,
};
pub use self::time::Time;
use crate::id::SessionId;

/// An event id: `<epoch>-<seq>`, two decimal integers compared as numbers.
///
/// `epoch` is the fencing token of the ownership that wrote the event, `seq` counts from 1 in each epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// The epoch of the owner that wrote the event.
    pub epoch: u64,
    /// Its number within that epoch, from 1.
    pub seq: u64,
}

/// The text is not an event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is <epoch>-<seq>, two decimal integers")]
pub struct InvalidCursor;

impl Cursor {
    /// The greatest possible epoch. An epoch is a time in milliseconds, and this is the end of the year 9999.
    pub const LAST_EPOCH: u64 = 253_402_300_799_999;

    /// The cursor before the first event of an epoch.
    pub fn start_of(epoch: u64) -> Self {
        Self { epoch, seq: 0 }
    }

    /// The id after this one in the same epoch.
    #[must_use]
    pub fn next(self) -> Self {
        Self { epoch: self.epoch, seq: self.seq + 1 }
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            // `u64::from_str` would take a leading `+`.
            let decimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            decimal.then(|| digits.parse().ok()).flatten().ok_or(InvalidCursor)
        };
        let (epoch, seq) = text.split_once('-').ok_or(InvalidCursor)?;
        Ok(Self { epoch: number(epoch)?, seq: number(seq)? })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

/// The status of a session. Its words are in lower case, as in the old service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The link task starts; nothing from WhatsApp yet.
    Initializing,
    /// A QR (or a pairing code) waits for a phone.
    ScanQr,
    /// WhatsApp waits for the account's passkey.
    PasskeyRequired,
    /// A phone has linked the device; the first login is under way.
    Authenticated,
    /// Logged in at WhatsApp.
    Connected,
    /// Cut off; comes back by itself.
    Reconnecting,
    /// Not running, until somebody restarts it.
    Disconnected,
    /// WhatsApp refuses this account or this client.
    Failed,
}

impl Status {
    /// All statuses.
    pub const ALL: [Status; 8] = [
        Status::Initializing,
        Status::ScanQr,
        Status::PasskeyRequired,
        Status::Authenticated,
        Status::Connected,
        Status::Reconnecting,
        Status::Disconnected,
        Status::Failed,
    ];

    /// The word that clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Initializing => "initializing",
            Status::ScanQr => "scan_qr",
            Status::PasskeyRequired => "passkey_required",
            Status::Authenticated => "authenticated",
            Status::Connected => "connected",
            Status::Reconnecting => "reconnecting",
            Status::Disconnected => "disconnected",
            Status::Failed => "failed",
        }
    }
}

/// The state right after an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The status of the session.
    pub status: Status,
    /// Since when it has this status.
    pub since: Time,
    /// The linked account, if there is one.
    pub me: Option<Me>,
    /// Whether this device has ever been logged in, which comes after a phone has linked it ([`State::has_device`]).
    #[serde(default)]
    pub linked: bool,
    /// Since when it is connected, while it is.
    pub connected_at: Option<Time>,
    /// What of the account could not be fetched yet. It is kept when the connection breaks.
    #[serde(default)]
    pub missing: Option<Missing>,
    /// Why the last `disconnected` happened.
    pub reason: Option<Reason>,
    /// What WhatsApp or the socket said at the last `disconnected`.
    pub detail: Option<String>,
    /// A link or a next step that came with the last `disconnected`.
    #[serde(default)]
    pub help: Option<String>,
    /// Whether its streams are closed.
    pub ended: bool,
}

impl State {
    /// The state of a session that has no event yet or was just restarted.
    pub fn initializing(since: Time, me: Option<Me>) -> Self {
        Self {
            status: Status::Initializing,
            since,
            me,
            linked: false,
            connected_at: None,
            missing: None,
            reason: None,
            detail: None,
            help: None,
            ended: false,
        }
    }

    /// Whether a phone has ever linked a device: then no person waits in front of a page for a QR.
    pub fn was_paired(&self) -> bool {
        self.linked || self.me.is_some()
    }

    /// Whether a phone has linked a device that is not logged out.
    pub fn has_device(&self) -> bool {
        self.me.is_some() && self.reason.filter(|_| self.ended) != Some(Reason::LoggedOut)
    }

    /// Whether a link task runs in this state: neither ended nor used up.
    pub fn runs(&self) -> bool {
        !self.ended && self.status != Status::Disconnected
    }
}

/// A fact about a session, and the state right after it.
#[derive(Debug)]
pub struct Event {
    /// The session that the event belongs to.
    pub session: SessionId,
    /// The id of the event.
    pub at: Cursor,
    /// The time of the event.
    pub time: Time,
    /// What happened, with the data of that kind.
    pub kind: Kind,
    /// The state of the session after it.
    pub state: State,
    encoded: OnceLock<Encoded>,
    /// Boxed: few events are ever shown in the feed.
    in_feed: OnceLock<Box<Encoded>>,
}

impl Event {
    /// A new fact. Only the session's owner numbers one.
    pub fn new(session: SessionId, at: Cursor, time: Time, kind: Kind, state: State) -> Self {
        Self { session, at, time, kind, state, encoded: OnceLock::new(), in_feed: OnceLock::new() }
    }

    /// The event as a log keeps it: JSON without what follows from the rest (the id is the log's own, the picture is
    /// drawn from the string).
    pub fn to_log(&self) -> String {
        let logged = LoggedRef { time: self.time, kind: &self.kind, state: &self.state };
        serde_json::to_string(&logged)
            .unwrap_or_else(|error| unreachable!("strings and numbers always encode: {error}"))
    }

    /// Reads what [`Event::to_log`] wrote.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn from_log(session: SessionId, at: Cursor, text: &str) -> serde_json::Result<Self> {
        let Logged { time, kind, state } = serde_json::from_str(text)?;
        Ok(Self::new(session, at, time, kind, state))
    }

    /// Whether what it shows has expired, as a QR or a code does.
    pub fn expired(&self, now: Time) -> bool {
        self.kind.expires_at().is_some_and(|at| at <= now)
    }

    /// Whether it is a QR without its string: a log keeps that only as long as it can be scanned.
    pub fn is_blank(&self) -> bool {
        matches!(&self.kind, Kind::Qr(qr) if qr.qr_string.is_empty())
    }

    /// The same event without its encoded form, to save memory in a history that is seldom read.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self::new(self.session.clone(), self.at, self.time, self.kind.clone(), self.state.clone())
    }
}

#[derive(Serialize)]
struct LoggedRef<'a> {
    time: Time,
    kind: &'a Kind,
    state: &'a State,
}

#[derive(Deserialize)]
struct Logged {
    time: Time,
    kind: Kind,
    state: State,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_compares_as_numbers() {
        let cursor: Cursor = "1763985600000-3".parse().unwrap();
        assert_eq!(cursor.to_string(), "1763985600000-3");
        assert!("9-1".parse::<Cursor>().unwrap() < "10-1".parse().unwrap());
        assert!("9-9".parse::<Cursor>().unwrap() < "9-10".parse().unwrap());
    }

    #[test]
    fn an_event_reads_back_from_a_log() {
        let now = Time::from_millis(1_763_985_600_000);
        let me = Me { id: "905:1@s.whatsapp.net".into(), push_name: None, platform: Some("ios".into()) };
        let qr = Qr { qr_string: "2@x".into(), expires_at: now, attempt: 1, max_attempts: 6 };
        for kind in [
            Kind::Qr(qr),
            Kind::Ready { me: me.clone(), connected_at: now, missing: None },
            Kind::Disconnected(Disconnected { until: Some(now), ..Disconnected::new(Reason::Banned, None) }),
        ] {
            let id: SessionId = "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11".parse().unwrap();
            let at = Cursor { epoch: 7, seq: 3 };
            let event = Event::new(id.clone(), at, now, kind, State::initializing(now, Some(me.clone())));
            let read = Event::from_log(id, at, &event.to_log()).unwrap();
            assert_eq!((read.time, &read.kind, &read.state), (event.time, &event.kind, &event.state));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in [
            "",
            "-",
            "7",
            "7-",
            "-3",
            "7-3-1",
            "+7-3",
            "7-+3",
            "a-b",
            " 7-3",
            "7-3 ",
            "99999999999999999999-1",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text:?}");
        }
    }
}
