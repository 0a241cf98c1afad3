//! What the simulator knows of a connected client, and the orders its connection takes from elsewhere.
//! `server::serve` obeys them.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wacore::pair_code::PairCodeUtils;
use wacore_binary::Node;

use super::{Happening, Registration};
use crate::phone::{Offer, WRAPPED};

/// Counts connections from 1.
pub(crate) type ClientId = u64;

/// A connected client.
pub(crate) struct Client {
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    /// Cancelled to drop the TCP connection at once, also while the simulator is paused.
    pub(crate) cut: CancellationToken,
    pub(crate) role: Role,
}

/// What the client is, as far as it has come.
pub(crate) enum Role {
    /// Has not finished the handshake, or was refused.
    Greeting,
    /// Shows QRs.
    Waiting(Box<Waiting>),
    /// Has signed and will reconnect.
    Linked,
    /// Is logged in as a device.
    Online { jid: String, since: Instant },
}

/// An unpaired client.
pub(crate) struct Waiting {
    pub(crate) refs: Vec<String>,
    pub(crate) registration: Arc<Registration>,
    /// A phone has scanned one of the refs or enters the code, and the client has not answered yet.
    pub(crate) offered: bool,
    /// The pairing code the client asked for, without the code itself, which the server never sees.
    pub(crate) code: Option<LinkCode>,
    /// It was told to renew its secret, so a QR from before is void.
    pub(crate) refreshed: bool,
}

/// A request for a pairing code.
#[derive(Clone)]
pub(crate) struct LinkCode {
    /// The number of the phone that is to enter it.
    pub(crate) number: String,
    /// The client's ephemeral key under the code.
    pub(crate) wrapped: [u8; WRAPPED],
    pub(crate) reference: Vec<u8>,
    /// How often it was entered, right or wrong.
    pub(crate) entered: u32,
    pub(crate) since: Instant,
}

impl LinkCode {
    /// Source: `wacore` 0.7.0 `pair_code.rs`: a client ignores an older code, and gives up one after three entries.
    pub(crate) fn is_for(&self, number: Option<&str>) -> bool {
        number == Some(&self.number)
            && self.entered < PairCodeUtils::max_primary_hello_attempts()
            && self.since.elapsed() <= PairCodeUtils::code_validity()
    }
}

/// A link that waits for a passkey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PasskeyState {
    /// The JID the device will have.
    pub jid: String,
    /// `required`, `asserted`, `confirmation`, or `refused`.
    pub stage: String,
    /// The code as the phone shows it, once there is one.
    pub code: Option<String>,
}

/// Something a connection is told to do.
pub(crate) enum Order {
    /// Send pair-success and report how the client took it.
    Offer { offer: Box<Offer>, number: String, answer: oneshot::Sender<Result<(), Refusal>> },
    /// Ask for a passkey before anything else.
    Passkey { number: String, device: u16, refuse: bool },
    /// Say that a phone has entered the code, and pass the key bundle back.
    PrimaryHello {
        wrapped: [u8; WRAPPED],
        identity: [u8; 32],
        reference: Vec<u8>,
        bundle: oneshot::Sender<Vec<u8>>,
    },
    /// Say that another login took over, and end.
    Replace,
    /// Say that the phone removed the device, and end.
    LogOut,
    /// Give a sign of life.
    Answer(oneshot::Sender<()>),
    /// Do what a server does to a stream of its own accord.
    Happen(Happening),
    /// Deliver what is new in the mailbox.
    Deliver,
    /// Say something to a device that is active.
    Tell(Box<Node>),
    /// Have an unpaired client renew its secret.
    RenewSecret,
    /// Give an unpaired client other references.
    RenewRefs(Vec<String>),
}

/// Why a device was not linked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The client answered pair-success with an error.
    #[error("{code} {text}")]
    Client { code: String, text: String },
    /// The client signed, and the signature does not hold.
    #[error("{0}")]
    Signature(String),
}
