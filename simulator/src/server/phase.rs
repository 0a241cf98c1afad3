//! How far a client has come on its connection, and what happens next if it does nothing. Only data: `serve` decides by
//! it who hears the client, and those who hear it change it.

use tokio::sync::oneshot;

use crate::noise::Responder;
use crate::phone::{Ceremony, Offer};
use crate::state::Refusal;

/// How far the client has come.
pub(super) enum Phase {
    Handshake(Box<Responder>),
    Pairing(Box<Pairing>),
    /// Logged in as `jid`; deliveries begin when the device has said that it is active.
    Online {
        jid: String,
        active: bool,
    },
    /// The last stanza is out; what still comes is not answered.
    Over,
}

/// The state of an unpaired client.
pub(super) struct Pairing {
    /// Ids of every `pair-device` it got.
    pub(super) pair_device: Vec<String>,
    pub(super) offered: Option<Offered>,
    pub(super) passkey: Option<PasskeyStep>,
    /// The phone that has entered a code and waits for the key bundle.
    pub(super) bundle: Option<oneshot::Sender<Vec<u8>>>,
}

/// A phone's offer that the client has not answered yet.
pub(super) struct Offered {
    pub(super) id: String,
    pub(super) offer: Box<Offer>,
    pub(super) number: String,
    pub(super) answer: oneshot::Sender<Result<(), Refusal>>,
}

/// A passkey step in progress.
pub(super) struct PasskeyStep {
    pub(super) ceremony: Ceremony,
    /// Whether the account refuses every assertion.
    pub(super) refuse: bool,
    pub(super) device: u16,
    pub(super) number: String,
    /// The client's new ADV secret, once it has sent it.
    pub(super) adv_secret: Option<[u8; 32]>,
}

/// What happens at a given time.
#[derive(Clone, Copy)]
pub(super) enum Alarm {
    /// A device has signed: it is to reconnect and log in.
    Restart,
    /// A device has removed itself: its stream ends.
    Removed,
    /// A client has proven its passkey: the handshake continues.
    Continue,
    /// A client has sent its new secret: the phone vouches for it.
    Vouch,
    /// Drop the TCP connection.
    Drop,
}
