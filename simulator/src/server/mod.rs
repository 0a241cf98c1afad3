//! WhatsApp's server, as one client sees it: the byte stream, the handshake, pairing, login and everything asked after it.
//! What is remembered is in `state`, what phones sign in `phone`; `control` hands every WebSocket to `connection::serve`.

mod code;
pub(crate) mod connection;
mod iq;
mod login;
mod pairing;
mod passkey;
mod prekeys;
pub(crate) mod stanza;
mod usync;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::noise::ServerIdentity;
use crate::state::Shelf;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) shelf: Shelf,
    pub(crate) refs: usize,
    /// True while nothing is answered.
    pub(crate) paused: watch::Sender<bool>,
    /// Cancelled when the simulator ends.
    pub(crate) stop: CancellationToken,
    identity: Mutex<Arc<ServerIdentity>>,
}

impl Shared {
    pub(crate) fn new(identity: ServerIdentity, refs: usize) -> Self {
        Self {
            shelf: Shelf::default(),
            refs,
            paused: watch::Sender::new(false),
            stop: CancellationToken::new(),
            identity: Mutex::new(Arc::new(identity)),
        }
    }

    pub(crate) fn identity(&self) -> Arc<ServerIdentity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_identity(&self, identity: ServerIdentity) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(identity);
    }
}
