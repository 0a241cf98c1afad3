//! One account for each client: everything that it holds and has used in this process.
//!
//! A limit on what a client may take is a field of [`Account`], and asks nothing else. An account goes when nothing stands
//! in it any more.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::window::Window;
use crate::http::door::client::Client;
use crate::id::SessionId;

/// How many accounts there may be before the first look for those that can go.
const FEW: usize = 1024;

/// What one client holds and has used.
#[derive(Default)]
pub(super) struct Account {
    /// Open connections, also those that are used.
    pub(super) connections: usize,
    /// Those without a request, the longest without one first. The key is their turn, the value their number.
    pub(super) idle: BTreeMap<u64, u64>,
    /// Open streams.
    pub(super) streams: usize,
    /// Requests for a new session.
    pub(in crate::http) init: Window,
    /// Requests that were refused, or found nothing.
    pub(super) lost: Window,
    /// The others of a client without a key, over all its sessions.
    pub(super) all: Window,
    /// The others by session, and those for none. Only a session that was there has an entry: names can be invented.
    pub(super) sessions: HashMap<Option<SessionId>, Window>,
}

impl Account {
    /// Whether nothing stands in it.
    fn is_blank(&mut self, now: Instant) -> bool {
        self.sessions.retain(|_, window| !window.is_whole(now));
        self.connections == 0
            && self.streams == 0
            && self.sessions.is_empty()
            && [self.init, self.lost, self.all].iter().all(|window| window.is_whole(now))
    }
}

/// Those of all clients.
#[derive(Default)]
pub(super) struct Accounts {
    of: HashMap<Client, Account>,
    /// At how many the next look is taken for those that can go.
    tidied: usize,
}

impl Accounts {
    /// A client's account, made if it has none.
    pub(super) fn of(&mut self, client: &Client) -> &mut Account {
        if !self.of.contains_key(client) && self.of.len() >= self.tidied.max(FEW) {
            // A new name costs a stranger nothing. With twice as many until the next look, each costs this a fixed time.
            self.forget(Instant::now());
            self.tidied = self.of.len() * 2;
        }
        self.of.entry(client.clone()).or_default()
    }

    /// Forgets the clients that hold nothing and have their whole allowance again.
    pub(super) fn forget(&mut self, now: Instant) {
        self.of.retain(|_, account| !account.is_blank(now));
        self.of.shrink_to(FEW);
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.of.len()
    }
}
