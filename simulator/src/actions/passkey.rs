//! Accounts that require a passkey before a device is linked, by QR and by code alike.

use std::time::Duration;

use super::link::{LinkError, Linker};
use crate::phone::read_public_key;
use crate::server::Shared;
use crate::simulator::Simulator;
use crate::state::{ClientId, Order, PasskeyState, World};

/// What the account of a scanning phone does with its passkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passkey {
    /// It requires one before the device is linked. The assertion must be for this step and WhatsApp's page; it must be
    /// signed
    /// by the account's own passkey only if that was registered ([`Simulator::register_passkey`]).
    Ask,
    /// It requires one and refuses the assertion.
    Refuse,
}

impl Simulator {
    /// The account of this phone has this passkey and takes assertions of no other from now on. `public_key` is a P-256 key
    /// in base64: a point that is not compressed, or DER as a browser's `getPublicKey()` gives it.
    ///
    /// # Errors
    /// [`LinkError::Number`], [`LinkError::PasskeyKey`].
    pub fn register_passkey(&self, phone: &str, public_key: &str) -> Result<(), LinkError> {
        self.shared.register_passkey(phone, public_key)
    }

    /// How long the phone takes to answer within a passkey step; 30 ms unless set. A client of 0.7.0 loses what comes in the
    /// same instant as the answer to its prologue, which WhatsApp, with a phone to ask, cannot send so early.
    pub fn set_passkey_pause(&self, pause: Duration) {
        self.shared.conditions.set_passkey_pause(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
    }
}

impl Shared {
    pub(crate) fn register_passkey(&self, phone: &str, public_key: &str) -> Result<(), LinkError> {
        let linker = Linker::new(Some(phone), None)?;
        let key = read_public_key(public_key).ok_or(LinkError::PasskeyKey)?;
        linker.phone(&mut self.shelf.world()).1.passkey = Some(key);
        Ok(())
    }
}

/// Has the server ask the client for a passkey of the phone's account. The JID the device is going to have.
pub(super) fn ask(
    world: &mut World,
    client: ClientId,
    linker: Linker,
    passkey: Passkey,
) -> Result<String, LinkError> {
    let (number, phone) = linker.phone(world);
    let device = phone.next_device();
    let jid = phone.jid().with_device(device).to_string();
    let state = PasskeyState { jid: jid.clone(), stage: "required".to_owned(), code: None };
    world.passkeys.insert(client, state);
    let refuse = passkey == Passkey::Refuse;
    match world.order(client, Order::Passkey { number, device, refuse }) {
        true => Ok(jid),
        false => Err(LinkError::Gone),
    }
}
