//! The places for connections: how many one client has, how many there are, and which one goes when they run out.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::held::{Connections, Door, Held, KEPT};
use super::{Limits, State, limited};
use crate::http::door::client::{Client, network};

/// The place of one connection, as long as it is held.
#[derive(Clone)]
pub(in crate::http) struct Connection {
    place: Arc<ConnectionPlace>,
}

struct ConnectionPlace {
    limits: Arc<Limits>,
    number: u64,
    leaves: CancellationToken,
}

impl Limits {
    /// A place for a connection from this peer. Where there is none the one that has been without a request longest makes
    /// room, of the same client where that has too many; `None`: all are in use.
    pub(in crate::http) fn connect(self: &Arc<Self>, door: Door, peer: IpAddr) -> Option<Connection> {
        let peer = peer.to_canonical();
        let client = match door {
            Door::Public if !self.rules.proxies.trust(peer) => Some(Client::Address(network(peer))),
            _ => None,
        };
        let mut state = self.state();
        if let Some(client) = &client {
            let account = state.accounts.of(client);
            if account.connections >= self.rules.connections_of_client {
                let longest = account.idle.first_key_value().map(|(_, number)| *number);
                state.makes_room(longest, "connections_per_client")?;
            }
        }
        let kept = if door == Door::Public && !peer.is_loopback() { KEPT } else { 0 };
        let open = state.connections.doors.entry(door).or_default();
        if open.count >= open.most.saturating_sub(kept).max(1) {
            let longest = open.idle.first_key_value().map(|(_, number)| *number);
            state.makes_room(longest, "connections")?;
        }
        let leaves = CancellationToken::new();
        let number = state.connections.next();
        state.enters(number, Held { door, client, turn: None, leaves: leaves.clone() });
        drop(state);
        Some(Connection { place: Arc::new(ConnectionPlace { limits: self.clone(), number, leaves }) })
    }
}

impl Connection {
    /// A request has come. False when it has no place any more, and must leave without an answer.
    pub(in crate::http) fn is_used(&self) -> bool {
        self.place.limits.state().is_used(self.place.number)
    }

    /// It waits for a request.
    pub(in crate::http) fn is_idle(&self) {
        self.place.limits.state().is_idle(self.place.number);
    }

    /// It counts for this client from now on, unless it is a trusted proxy's. A client that has shown a key is counted by the
    /// key, no longer by its address.
    pub(in crate::http) fn belongs_to(&self, client: &Client) {
        self.place.limits.state().belongs_to(self.place.number, client);
    }

    /// When another needs its place.
    pub(in crate::http) async fn must_leave(&self) {
        self.place.leaves.cancelled().await;
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Connection({})", self.place.number)
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.limits.state().leaves(self.number);
    }
}

impl State {
    /// Closes this connection, or counts a refusal if there is none that can be closed.
    fn makes_room(&mut self, longest_idle: Option<u64>, limit: &'static str) -> Option<()> {
        let Some(number) = longest_idle else {
            limited(limit);
            return None;
        };
        self.leaves(number)?.leaves.cancel();
        Some(())
    }

    fn enters(&mut self, number: u64, held: Held) {
        if let Some(open) = self.connections.doors.get_mut(&held.door) {
            open.count += 1;
        }
        if let Some(client) = &held.client {
            self.accounts.of(client).connections += 1;
        }
        self.connections.held.insert(number, held);
        self.is_idle(number);
    }

    /// Its place is free; again, it is nothing.
    fn leaves(&mut self, number: u64) -> Option<Held> {
        self.is_used(number);
        let held = self.connections.held.remove(&number)?;
        if let Some(open) = self.connections.doors.get_mut(&held.door) {
            open.count = open.count.saturating_sub(1);
        }
        if let Some(client) = &held.client {
            let account = self.accounts.of(client);
            account.connections = account.connections.saturating_sub(1);
        }
        Some(held)
    }

    fn is_idle(&mut self, number: u64) {
        let turn = self.connections.next();
        let Connections { doors, held, .. } = &mut self.connections;
        let Some(held) = held.get_mut(&number).filter(|held| held.turn.is_none()) else { return };
        held.turn = Some(turn);
        if let Some(open) = doors.get_mut(&held.door) {
            open.idle.insert(turn, number);
        }
        if let Some(client) = &held.client {
            self.accounts.of(client).idle.insert(turn, number);
        }
    }

    fn is_used(&mut self, number: u64) -> bool {
        let Connections { doors, held, .. } = &mut self.connections;
        let Some(held) = held.get_mut(&number) else { return false };
        let Some(turn) = held.turn.take() else { return true };
        if let Some(open) = doors.get_mut(&held.door) {
            open.idle.remove(&turn);
        }
        if let Some(client) = &held.client {
            self.accounts.of(client).idle.remove(&turn);
        }
        true
    }

    fn belongs_to(&mut self, number: u64, client: &Client) {
        let Some(held) = self.connections.held.get_mut(&number) else { return };
        let Some(before) = held.client.replace(client.clone()) else {
            // A proxy's.
            held.client = None;
            return;
        };
        if before == *client {
            return;
        }
        // It is in use, so that nobody else sends it away, and neither account lists it among the idle ones.
        let account = self.accounts.of(&before);
        account.connections = account.connections.saturating_sub(1);
        self.accounts.of(client).connections += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::door::limits::tests::limits;

    fn connect(limits: &Arc<Limits>, peer: &str) -> Option<Connection> {
        limits.connect(Door::Public, peer.parse().unwrap())
    }

    fn has_left(connection: &Connection) -> bool {
        connection.place.leaves.is_cancelled()
    }

    #[test]
    fn a_client_with_too_many_loses_the_one_that_was_idle_longest() {
        let limits = limits(&[("MAX_STREAMS_PER_IP", "2")], 1000);
        let held: Vec<_> = (0..4).map(|_| connect(&limits, "192.0.2.1").unwrap()).collect();
        // The first has been without a request for the shortest time, the third has one.
        held[0].is_used();
        held[0].is_idle();
        held[2].is_used();
        let _fifth = connect(&limits, "192.0.2.1").unwrap();
        let _other = connect(&limits, "192.0.2.2").unwrap();
        assert_eq!(held.iter().map(has_left).collect::<Vec<_>>(), [false, true, false, false]);
        assert!(!held[1].is_used() && held[2].is_used());
        // What is sent away has no place any more, and gives none back when it is gone.
        drop(held);
        assert_eq!(limits.state().accounts.of(&Client::Address("192.0.2.1".parse().unwrap())).connections, 1);
    }

    #[test]
    fn one_that_uses_all_it_has_gets_no_more() {
        let limits = limits(&[("MAX_STREAMS_PER_IP", "1")], 1000);
        let held: Vec<_> = (0..2).map(|_| connect(&limits, "2001:db8:1:2::1").unwrap()).collect();
        assert!(held.iter().all(Connection::is_used));
        assert!(connect(&limits, "2001:db8:1:2:ffff::9").is_none(), "of the same network");
        assert!(connect(&limits, "2001:db8:1:3::1").is_some());
        // As IPv4 within IPv6 it is the same as without.
        let mapped: Vec<_> =
            ["::ffff:192.0.2.1", "192.0.2.1"].iter().map(|peer| connect(&limits, peer).unwrap()).collect();
        assert!(mapped.iter().all(Connection::is_used));
        assert!(connect(&limits, "::ffff:192.0.2.1").is_none());
    }

    #[test]
    fn a_trusted_proxy_is_not_counted_and_a_key_is_not_its_address() {
        let limits = limits(&[("MAX_STREAMS_PER_IP", "1"), ("TRUSTED_PROXIES", "10.0.0.0/8")], 1000);
        let used = |peer: &str| {
            let connection = connect(&limits, peer);
            assert!(connection.iter().all(Connection::is_used));
            connection
        };
        let _proxied: Vec<_> = (0..20).map(|_| used("10.0.0.1").unwrap()).collect();
        let backend: Vec<_> = (0..20)
            .map(|_| {
                let connection = used("192.0.2.1").unwrap();
                connection.belongs_to(&Client::Backend);
                connection
            })
            .collect();
        assert!(used("192.0.2.1").is_some());
        drop(backend);
        assert_eq!(limits.state().accounts.of(&Client::Backend).connections, 0);
    }

    #[test]
    fn the_last_places_are_this_machines() {
        let limits = limits(&[], KEPT + 3);
        let used = |peer: &str| {
            let connection = connect(&limits, peer);
            assert!(connection.iter().all(Connection::is_used));
            connection
        };
        let strangers: Vec<_> = (0..3).map(|n| used(&format!("192.0.2.{n}")).unwrap()).collect();
        assert!(used("192.0.2.9").is_none());
        let own: Vec<_> = (0..KEPT).map(|n| used(&format!("127.0.0.{n}")).unwrap()).collect();
        assert!(used("127.0.0.99").is_none() && used("::1").is_none());
        assert!(limits.connect(Door::Metrics, "192.0.2.9".parse().unwrap()).is_some(), "another port");
        // Whoever is idle makes room, and the longest of all first.
        strangers[2].is_idle();
        own[0].is_idle();
        let _newcomer = used("192.0.2.9").unwrap();
        assert!(has_left(&strangers[2]) && !has_left(&own[0]));
        assert!(used("::1").is_some());
        assert!(has_left(&own[0]));
    }
}
