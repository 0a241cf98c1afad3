//! Why a stream ends, and whether the viewer shall come back: one table for both transports.

use std::time::Duration;

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The session has ended. Don't return.
    Ended,
    /// This server stops. Return, here or elsewhere.
    Draining,
    /// The viewer is further behind than the history reaches, or takes no bytes. Return with the cursor.
    TooSlow,
    /// The viewer sent more than anyone has to say. Don't return.
    TooBig,
    /// The store cannot be asked for this session just now. Return.
    StoreAway,
}

impl Close {
    /// RFC 6455 close code.
    pub fn code(self) -> u16 {
        match self {
            Close::Ended => 1000,
            Close::TooBig => 1009,
            Close::Draining => 1012,
            Close::TooSlow | Close::StoreAway => 1013,
        }
    }

    /// For the close frame: at most 123 bytes.
    pub fn reason(self) -> &'static str {
        match self {
            Close::Ended => "the session has ended",
            Close::Draining => "the server restarts",
            Close::TooSlow => "too slow; return with the cursor",
            Close::TooBig => "message too big",
            Close::StoreAway => "the store does not answer; return",
        }
    }

    /// What the viewer is told before the end: the word, and how long to stay away.
    pub fn drain(self) -> Option<(&'static str, Duration)> {
        match self {
            Close::Draining => Some(("DRAINING", Duration::from_secs(1))),
            Close::StoreAway => Some(("STORE_AWAY", Duration::from_secs(2))),
            Close::Ended | Close::TooSlow | Close::TooBig => None,
        }
    }
}
