//! Linking: what a scanned QR and an entered code have in common. The phone vouches for the device, the client signs.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::phone::{Phone, made_up_number, normalize_number};
use crate::server::Shared;
use crate::state::{ClientId, Order, Refusal, Role, Waiting, World};

/// How long a client may take to answer an offered link. It usually takes milliseconds; after this time it counts as
/// stuck.
const SIGNING: Duration = Duration::from_secs(20);

/// Why no device was linked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No phone can have this number.
    #[error("phone is not a phone number: 7 to 15 digits, no leading zero")]
    Number,
    /// Not a public key of the kind that passkeys have.
    #[error("passkeyKey is not a P-256 public key in base64")]
    PasskeyKey,
    /// A QR that no waiting client holds, or a number for which none waits. Neither is repeated: a QR is a credential.
    #[error("no client waits for this")]
    NotWaiting,
    /// The code is not the one that the client shows.
    #[error("the code is wrong")]
    WrongCode,
    /// Another phone is just linking this client.
    #[error("another phone is linking this client")]
    Busy,
    /// The phone cannot reach WhatsApp while it is paused.
    #[error("WhatsApp is paused")]
    Paused,
    /// The client answered with an error, as after a wrong HMAC.
    #[error("the client refused: {code} {text}")]
    Refused {
        /// `401` or `500`.
        code: String,
        /// `hmac-mismatch`, `signature-mismatch`, ….
        text: String,
    },
    /// The client signed, and the signature does not hold.
    #[error("the client signed wrongly: {0}")]
    Signature(String),
    /// The client went away, or did not answer.
    #[error("the client went away before it signed")]
    Gone,
    /// The phone's own keys failed.
    #[error("the phone failed: {0}")]
    Phone(String),
}

/// The phone that links.
pub(super) struct Linker {
    pub(super) number: Option<String>,
    pub(super) push_name: Option<String>,
}

impl Linker {
    pub(super) fn new(phone: Option<&str>, push_name: Option<String>) -> Result<Self, LinkError> {
        let number = phone.map(|text| normalize_number(text).ok_or(LinkError::Number)).transpose()?;
        Ok(Self { number, push_name })
    }

    /// The phone with this number, created if it does not exist.
    pub(super) fn phone(self, world: &mut World) -> (String, &mut Phone) {
        let number = self.number.unwrap_or_else(|| fresh_number(world));
        let phone = world.phone(&number);
        if let Some(push_name) = self.push_name {
            phone.rename(push_name);
        }
        (number, phone)
    }
}

fn fresh_number(world: &World) -> String {
    let mut number = made_up_number();
    while world.phones.contains_key(&number) {
        number = made_up_number();
    }
    number
}

/// Reserves the waiting client for which `holds` is true: nobody else can link it until it has answered or was given back by [`Claimed`].
pub(super) fn claim(world: &mut World, holds: impl Fn(&Waiting) -> bool) -> Result<ClientId, LinkError> {
    if world.paused {
        return Err(LinkError::Paused);
    }
    // The newest first, because its code or QR is the one that is shown.
    for (id, client) in world.clients.iter_mut().rev() {
        match &mut client.role {
            Role::Waiting(waiting) if holds(waiting) => {
                let taken = std::mem::replace(&mut waiting.offered, true);
                return if taken { Err(LinkError::Busy) } else { Ok(*id) };
            }
            _ => {}
        }
    }
    Err(LinkError::NotWaiting)
}

/// A claimed client that is given back when this is dropped, unless it is [`Claimed::keep`]t.
pub(super) struct Claimed<'a> {
    shared: &'a Shared,
    client: Option<ClientId>,
}

impl<'a> Claimed<'a> {
    pub(super) fn new(shared: &'a Shared, client: ClientId) -> Self {
        Self { shared, client: Some(client) }
    }

    /// The client's answer to pair-success decides from here on.
    pub(super) fn keep(mut self) {
        self.client = None;
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        self.shared.shelf.world().wait_again(client);
    }
}

/// Has the phone vouch for the device with these keys, and waits until the client has signed. Returns its JID.
pub(super) async fn link(
    shared: &Shared,
    client: ClientId,
    linker: Linker,
    identity: [u8; 32],
    adv_secret: [u8; 32],
) -> Result<String, LinkError> {
    let (jid, answered) = {
        let mut world = shared.shelf.world();
        let (number, phone) = linker.phone(&mut world);
        let device = phone.next_device();
        let offer = phone.offer(device, identity, &adv_secret);
        let offer = Box::new(offer.map_err(|error| LinkError::Phone(error.to_string()))?);
        let jid = offer.jid.to_string();
        let (answer, answered) = oneshot::channel();
        if !world.order(client, Order::Offer { offer, number, answer }) {
            return Err(LinkError::Gone);
        }
        (jid, answered)
    };
    match timeout(SIGNING, answered).await {
        Ok(Ok(Ok(()))) => Ok(jid),
        Ok(Ok(Err(Refusal::Client { code, text }))) => Err(LinkError::Refused { code, text }),
        Ok(Ok(Err(Refusal::Signature(why)))) => Err(LinkError::Signature(why)),
        Ok(Err(_)) => Err(LinkError::Gone),
        Err(_) => {
            tracing::warn!(client, "a client does not answer pair-success");
            Err(LinkError::Gone)
        }
    }
}
