//! A phone: one WhatsApp account with its keys, its devices' numbers and everything it signs or encrypts.
//! It does not know connections or stanzas; `state` keeps the phones, `actions` and `server` ask them to link, share and vouch.

mod adv;
mod assertion;
mod authenticator;
mod blobs;
mod clock;
mod code;
mod collection;
mod error;
mod group;
mod history;
mod passkey;
mod prekeys;
mod signal;
mod sync;
mod sync_key;

use rand::RngExt as _;
use wacore::libsignal::protocol::{CurveError, KeyPair};
use wacore_binary::Jid;
use waproto::whatsapp::Message;

pub(crate) use adv::Offer;
pub(crate) use authenticator::read_public_key;
pub use authenticator::{Authenticator, AuthenticatorError};
pub(crate) use blobs::{BLOB_PATH, Blob};
pub(crate) use code::{CodeEntry, WRAPPED};
pub(crate) use collection::Update;
pub(crate) use error::{PasskeyError, PhoneError};
pub(crate) use group::Group;
pub(crate) use history::COLLECTIONS;
pub(crate) use passkey::Ceremony;
use prekeys::OwnKeys;
pub(crate) use prekeys::PublicBundle;
pub(crate) use signal::{Sealed, Sender};
pub(crate) use sync::AppState;

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
    /// Whether its account is a business account beside the Cloud API.
    pub(crate) hosted: bool,
    keys: OwnKeys,
    app_state: AppState,
    /// Public key of the account's passkey, if a test has registered one.
    pub(crate) passkey: Option<Vec<u8>>,
}

impl Phone {
    /// A new account for `number` (digits only) with a history of `contacts` contacts; 0 means no history.
    pub(crate) fn new(number: String, push_name: String, contacts: usize) -> Self {
        let mut rng = rand::rng();
        let lid = rng.random_range(100_000_000_000_000_u64..1_000_000_000_000_000).to_string();
        Self {
            app_state: AppState::new(number.clone(), contacts),
            number,
            lid,
            push_name,
            identity: KeyPair::generate(&mut rng),
            registration_id: rng.random_range(1..16_380),
            raw_id: rng.random_range(1..i32::MAX as u32),
            last_device: 0,
            hosted: false,
            keys: OwnKeys::generate(),
            passkey: None,
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

    /// What a device opens a session with.
    pub(crate) fn own_keys(&self) -> &OwnKeys {
        &self.keys
    }

    /// What the server hands out for a session with this phone.
    pub(crate) fn bundle(&self) -> Result<PublicBundle, PhoneError> {
        self.keys.bundle(&self.identity, self.registration_id)
    }

    /// Public key of the account's identity.
    pub(crate) fn identity(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(self.identity.public_key.public_key_bytes());
        key
    }

    fn sign(&self, parts: &[&[u8]]) -> Result<Vec<u8>, CurveError> {
        let signature =
            self.identity.private_key.calculate_signature_for_multipart_message(parts, &mut rand::rng())?;
        Ok(signature.to_vec())
    }

    /// Plaintext of the first peer message: the key under which the app state is encrypted.
    pub(crate) fn key_share(&self) -> Message {
        self.app_state.key().share(self.raw_id)
    }

    /// What a device that has version `since` of `collection` must still learn. With `wrong` a snapshot's MAC does not hold.
    pub(crate) fn app_state(
        &mut self,
        collection: &str,
        since: u64,
        wrong: bool,
    ) -> Result<Update, PhoneError> {
        self.app_state.update(collection, since, wrong, &self.push_name)
    }

    /// Takes a device's patch on top of version `base`; the new version, or `None` when `base` is not the newest.
    pub(crate) fn patch_app_state(
        &mut self,
        collection: &str,
        base: u64,
        patch: &[u8],
    ) -> Result<Option<u64>, PhoneError> {
        self.app_state.push(collection, base, patch, &self.push_name)
    }

    /// A history of this many contacts that is still to be prepared; `None` if the account has that many already.
    pub(crate) fn rewritten(&self, contacts: usize) -> Option<AppState> {
        (self.app_state.contacts() != contacts).then(|| self.app_state.rewritten(contacts))
    }

    /// Takes over a prepared history; the collections that changed, with their versions.
    pub(crate) fn adopt(&mut self, history: AppState) -> Result<Vec<(String, u64)>, PhoneError> {
        self.app_state.adopt(history, &self.push_name)
    }

    /// A file of this account on the media host.
    pub(crate) fn blob(&self, name: &str) -> Option<Blob> {
        self.app_state.blob(name)
    }

    /// Gives the account another push name, which devices learn that are linked from now on.
    pub(crate) fn rename(&mut self, push_name: String) {
        if self.push_name != push_name {
            self.push_name = push_name;
            self.app_state.forget_push_name();
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
        let phone = Phone::new(made_up_number(), String::new(), 0);
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
