//! Why a stream ends, and whether the viewer should come back: one table for both transports.

use std::time::Duration;

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// The session has ended. The viewer should not come back.
    Ended,
    /// This server stops. The viewer should come back, to this server or another replica.
    Draining {
        /// How long the viewer should wait before it comes back.
        pause: Duration,
    },
    /// The viewer is further behind than the history reaches, or accepts no data. It should come back with its cursor.
    TooSlow,
    /// The viewer of the feed is too far behind, or events were lost on their way to this replica. It should come back, and read
    /// the list of sessions.
    Missed,
    /// The viewer sent too much data. It should not come back.
    TooBig,
    /// The viewer broke the WebSocket protocol.
    Broken,
    /// The viewer sent a text that is not UTF-8.
    NoText,
    /// The store does not answer about this session at the moment. The viewer should come back.
    StoreAway,
    /// There are too many streams, or too many requests from this viewer. It should come back later.
    Overloaded {
        /// How long the viewer should wait before it comes back.
        pause: Duration,
    },
    /// The viewer's token has expired. It should come back with a new one.
    TokenExpired,
}

impl Close {
    /// The codes of the `drain` frame.
    pub(crate) const DRAIN_CODES: [&'static str; 4] =
        ["DRAINING", "OVERLOADED", "STORE_AWAY", "TOKEN_EXPIRED"];

    /// The word for it in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Close::Ended => "ended",
            Close::Draining { .. } => "draining",
            Close::TooSlow => "too_slow",
            Close::Missed => "missed",
            Close::TooBig => "too_big",
            Close::Broken => "broken",
            Close::NoText => "no_text",
            Close::StoreAway => "store_away",
            Close::Overloaded { .. } => "overloaded",
            Close::TokenExpired => "token_expired",
        }
    }

    /// RFC 6455 close code.
    pub(crate) fn code(self) -> u16 {
        match self {
            Close::Ended => 1000,
            Close::Broken => 1002,
            Close::NoText => 1007,
            Close::TooBig => 1009,
            Close::Draining { .. } => 1012,
            Close::TooSlow | Close::Missed | Close::StoreAway | Close::Overloaded { .. } => 1013,
            // In the range for applications: RFC 6455, section 7.4.2.
            Close::TokenExpired => 4401,
        }
    }

    /// The reason in the close frame, at most 123 bytes.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Close::Ended => "the session has ended",
            Close::Draining { .. } => "the server restarts",
            Close::TooSlow => "too slow; return with the cursor",
            Close::Missed => "events were missed; return and read the list of sessions",
            Close::TooBig => "message too big",
            Close::Broken => "this is not the WebSocket protocol",
            Close::NoText => "a text must be UTF-8",
            Close::StoreAway => "the store does not answer; return",
            Close::Overloaded { .. } => "overloaded; return with the cursor",
            Close::TokenExpired => "the token has expired; return with a new one",
        }
    }

    /// What the `drain` frame tells the viewer before the end: the code, and how long to wait before it comes back.
    pub(crate) fn drain(self) -> Option<(&'static str, Duration)> {
        let [draining, overloaded, store_away, token_expired] = Self::DRAIN_CODES;
        match self {
            Close::Draining { pause } => Some((draining, pause)),
            Close::StoreAway => Some((store_away, Duration::from_secs(2))),
            Close::Overloaded { pause } => Some((overloaded, pause)),
            Close::Missed => Some((overloaded, Duration::from_secs(1))),
            Close::TokenExpired => Some((token_expired, Duration::from_secs(5))),
            Close::Ended | Close::TooSlow | Close::TooBig | Close::Broken | Close::NoText => None,
        }
    }
}
