//! A phone: one WhatsApp account with its keys, its devices' numbers and everything it signs or encrypts.
//! It does not know connections or stanzas; `state` keeps the phones, `actions` and `server` ask them to link, share and vouch.

mod adv;
mod code;
mod passkey;
mod signal;
mod sync;

use rand::RngExt as _;
use wacore::libsignal::protocol::{CurveError, KeyPair, SignalProtocolError};
use wacore_binary::Jid;
use waproto::whatsapp::Message;

pub(crate) use adv::Offer;
pub(crate) use code::{CodeEntry, WRAPPED};
pub(crate) use passkey::{Ceremony, PasskeyError};
pub(crate) use signal::{Sealed, Sender};
pub(crate) use sync::Update;
use sync::{Collections, SyncKey};

/// Where the push name is kept.
/// Source: the client asks for it among the critical collections and waits for `setting_pushName` in it.
const PUSH_NAME_COLLECTION: &str = "critical_block";

/// What a phone could not do with the keys it was given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PhoneError {
    #[error("signing failed: {0}")]
    Sign(#[from] CurveError),
    #[error("encrypting for the device failed: {0}")]
    Encrypt(#[from] SignalProtocolError),
    #[error("the device left no usable keys: {0}")]
    Bundle(String),
    #[error("a store in memory made Signal wait")]
    Waited,
    #[error("the app state patch does not add up: {0}")]
    Patch(String),
}

/// One account, on one phone.
pub(crate) struct Phone {
    number: String,
    lid: String,
    /// Shown to friends; the phone's devices learn it from the app state.
    pub(crate) push_name: String,
    identity: KeyPair,
    registration_id: u32,
    /// Names this account's list of key indexes.
    raw_id: u32,
    /// Device numbers given out so far. A number is never given twice, as with WhatsApp.
    last_device: u16,
    sync_key: SyncKey,
    collections: Collections,
}

impl Phone {
    /// A new account for `number` (digits only).
    pub(crate) fn new(number: String, push_name: String) -> Self {
        let mut rng = rand::rng();
        let lid = rng.random_range(100_000_000_000_000_u64..1_000_000_000_000_000).to_string();
        Self {
            number,
            lid,
            push_name,
            identity: KeyPair::generate(&mut rng),
            registration_id: rng.random_range(1..16_380),
            raw_id: rng.random_range(1..i32::MAX as u32),
            last_device: 0,
            sync_key: SyncKey::generate(),
            collections: Collections::default(),
        }
    }

    /// `NUMBER@s.whatsapp.net`.
    pub(crate) fn jid(&self) -> Jid {
        Jid::pn(self.number.as_str())
    }

    /// `LID@lid`.
    pub(crate) fn lid(&self) -> Jid {
        Jid::lid(self.lid.as_str())
    }

    /// Takes the account's next device number, whether or not a device will have it.
    pub(crate) fn next_device(&mut self) -> u16 {
        self.last_device += 1;
        self.last_device
    }

    /// A Signal sender for messages this phone writes to one device.
    pub(crate) fn sender(&self) -> Sender {
        Sender::new(self.identity.clone(), self.registration_id)
    }

    /// Plaintext of the first peer message: the key under which the app state is encrypted.
    pub(crate) fn key_share(&self) -> Message {
        self.sync_key.share(self.raw_id)
    }

    /// What a device that has version `since` of `collection` must still learn.
    pub(crate) fn app_state(&mut self, collection: &str, since: u64) -> Result<Update, PhoneError> {
        if collection == PUSH_NAME_COLLECTION && !self.collections.has(collection) {
            let genesis = self.sync_key.push_name_patch(collection, &self.push_name)?;
            self.collections.start(collection, genesis);
        }
        Ok(self.collections.after(collection, since))
    }

    /// Takes a device's patch on top of version `base`; the new version, or `None` when `base` is not the newest.
    pub(crate) fn patch_app_state(
        &mut self,
        collection: &str,
        base: u64,
        patch: &[u8],
    ) -> Result<Option<u64>, PhoneError> {
        self.app_state(collection, base)?;
        self.collections.push(collection, base, patch)
    }

    /// Gives the account another push name, which devices learn that are linked from now on.
    pub(crate) fn rename(&mut self, push_name: String) {
        if self.push_name != push_name {
            self.push_name = push_name;
            self.collections.forget(PUSH_NAME_COLLECTION);
        }
    }
}

/// Somebody with another account, who writes to one device.
pub(crate) struct Friend {
    pub(crate) jid: Jid,
    pub(crate) sender: Sender,
}

impl Friend {
    pub(crate) fn new() -> Self {
        let phone = Phone::new(made_up_number(), String::new());
        Self { jid: phone.jid(), sender: phone.sender() }
    }
}

/// `+49 151 0000-0000` → `4915100000000`; `None` when no such number can exist.
/// Source: E.164 (7 to 15 digits, no leading zero); the client strips non-digits likewise.
pub(crate) fn normalize_number(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '(' | ')' | '.');
    if !text.chars().all(allowed) {
        return None;
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    ((7..=15).contains(&digits.len()) && !digits.starts_with('0')).then_some(digits)
}

/// A number nobody has: `+49 1500 …`, which no German network gives out.
pub(crate) fn made_up_number() -> String {
    format!("491500{:08}", rand::rng().random_range(0..100_000_000_u32))
}

#[cfg(test)]
mod tests {
    use super::normalize_number;

    #[test]
    fn a_number_is_digits_without_a_leading_zero() {
        assert_eq!(normalize_number("+49 (151) 234-567").as_deref(), Some("49151234567"));
        assert_eq!(normalize_number("0151234567"), None);
        assert_eq!(normalize_number("123"), None);
        assert_eq!(normalize_number("49151abc"), None);
    }
}
