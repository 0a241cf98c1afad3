//! WhatsApp's server, as one client sees it: the byte stream, the handshake, pairing, login and everything asked after it.
//! What is remembered is in `state`, what phones sign in `phone`; `control` hands every WebSocket to `serve`.

mod answer;
mod app_state;
mod code;
mod conditions;
mod connection;
mod gate;
mod iq;
pub(crate) mod line;
mod login;
pub(crate) mod media;
mod outbox;
mod pair_success;
mod pairing;
mod passkey;
pub(crate) mod peer;
mod phase;
mod prekeys;
pub(crate) mod serve;
pub(crate) mod stanza;
mod stream;
mod usync;
pub(crate) mod web;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::conditions::Conditions;
use crate::noise::ServerIdentity;
use crate::state::{Media, Shelf};

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) shelf: Shelf,
    /// References per pairing.
    pub(crate) refs: AtomicUsize,
    /// Every task, also each connection's; the simulator's end waits for them.
    pub(crate) tasks: TaskTracker,
    pub(crate) conditions: Conditions,
    /// True while nothing is answered.
    pub(crate) paused: watch::Sender<bool>,
    /// Cancelled when the simulator ends.
    pub(crate) stop: CancellationToken,
    identity: Mutex<Arc<ServerIdentity>>,
}

impl Shared {
    pub(crate) fn new(identity: ServerIdentity, address: SocketAddr, refs: usize, contacts: usize) -> Self {
        let shelf = Shelf::default();
        {
            let mut world = shelf.world();
            world.contacts = contacts;
            world.media = Media { host: address.to_string(), auth: stanza::fresh_id(), requests: 0 };
        }
        Self {
            shelf,
            refs: AtomicUsize::new(refs),
            tasks: TaskTracker::new(),
            conditions: Conditions::default(),
            paused: watch::Sender::new(false),
            stop: CancellationToken::new(),
            identity: Mutex::new(Arc::new(identity)),
        }
    }

    pub(crate) fn identity(&self) -> Arc<ServerIdentity> {
        self.identity.lock().clone()
    }

    pub(crate) fn set_identity(&self, identity: ServerIdentity) {
        *self.identity.lock() = Arc::new(identity);
    }
}
