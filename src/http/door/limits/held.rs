//! The connections that are open: which there are, whose they are, and which has been without a request longest.
//!
//! `connections.rs` lets them in and sends them away.

use std::collections::{BTreeMap, HashMap};

use tokio_util::sync::CancellationToken;

use crate::http::door::client::Client;

/// Places that are kept for this machine itself: a probe on loopback gets in whatever strangers do. The port of
/// `METRICS_PORT` has as many of its own.
pub(crate) const KEPT: usize = 32;

/// A socket that takes connections in, with its places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Door {
    /// The port of `PORT`.
    Public,
    /// The port of `METRICS_PORT`.
    Metrics,
}

/// The connections of one door.
#[derive(Default)]
pub(super) struct Open {
    /// Most at a time.
    pub(super) most: usize,
    pub(super) count: usize,
    /// Those without a request, the longest without one first: turn and number.
    pub(super) idle: BTreeMap<u64, u64>,
}

/// One connection, as limits know it.
pub(super) struct Held {
    pub(super) door: Door,
    /// The client it is counted for. `None` for a trusted proxy, which speaks for many clients.
    pub(super) client: Option<Client>,
    /// Since when it has no request.
    pub(super) turn: Option<u64>,
    pub(super) leaves: CancellationToken,
}

/// Those of all doors.
#[derive(Default)]
pub(super) struct Connections {
    pub(super) doors: HashMap<Door, Open>,
    pub(super) held: HashMap<u64, Held>,
    /// Rises with each connection and each turn.
    next: u64,
}

impl Connections {
    /// A number that was not given before.
    pub(super) fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
