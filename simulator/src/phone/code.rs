//! A pairing code, from the phone's side: the code wraps the two ephemeral keys, and what comes of them opens the
//! device's key bundle only if the code was right.
//!
//! Source: `wacore` 0.7.0 `pair_code.rs` (`PairCodeUtils::prepare_key_bundle`, whose counterpart this is).

use wacore::crypto::hkdf_sha256_into;
use wacore::libsignal::crypto::aes_256_gcm_decrypt;
use wacore::libsignal::protocol::{CurveError, KeyPair, PublicKey};
use wacore::pair_code::{PairCodeError, PairCodeUtils};

use super::Phone;

/// Length of a wrapped ephemeral key: salt 32, iv 16, key 32.
pub(crate) const WRAPPED: usize = 80;
const SALT: usize = 32;
const IV: usize = 12;
const BUNDLE_KEY: &[u8] = b"link_code_pairing_key_bundle_encryption_key";
const ADV_SECRET: &[u8] = b"adv_secret";

/// A code that a person has typed, and the keys that follow from it.
pub(crate) struct CodeEntry {
    ephemeral: KeyPair,
    companion: [u8; 32],
    /// The phone's ephemeral key under the code.
    pub(crate) wrapped: [u8; WRAPPED],
}

/// The bundle does not open, which is how a phone learns that the code was wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyBundleError {
    #[error("the key bundle does not open")]
    Sealed,
    #[error("the key bundle names other keys")]
    Keys,
    #[error("the keys do not agree: {0}")]
    Curve(#[from] CurveError),
}

impl CodeEntry {
    /// Derives two keys from the code, which takes long on purpose: not for an async task.
    pub(crate) fn new(code: &str, companion: &[u8; WRAPPED]) -> Result<Self, PairCodeError> {
        let companion = PairCodeUtils::decrypt_primary_ephemeral_pub(companion, code)?;
        let ephemeral = KeyPair::generate(&mut rand::rng());
        let mut public = [0; 32];
        public.copy_from_slice(ephemeral.public_key.public_key_bytes());
        let wrapped = PairCodeUtils::encrypt_ephemeral_pub(&public, code);
        Ok(Self { ephemeral, companion, wrapped })
    }
}

impl Phone {
    /// Opens the bundle of the device with this identity; the secret under which the phone then vouches for it.
    pub(crate) fn open_key_bundle(
        &self,
        entry: &CodeEntry,
        device: &[u8; 32],
        bundle: &[u8],
    ) -> Result<[u8; 32], KeyBundleError> {
        let agree = |own: &KeyPair, other: &[u8; 32]| -> Result<[u8; 32], CurveError> {
            own.private_key.calculate_agreement(&PublicKey::from_djb_public_key_bytes(other)?)
        };
        let ephemeral = agree(&entry.ephemeral, &entry.companion)?;
        let (salt, rest) = bundle.split_at_checked(SALT).ok_or(KeyBundleError::Sealed)?;
        let (iv, sealed) = rest.split_at_checked(IV).ok_or(KeyBundleError::Sealed)?;
        let key = derive(&ephemeral, Some(salt), BUNDLE_KEY)?;
        let mut opened = Vec::new();
        let iv = iv.try_into().map_err(|_| KeyBundleError::Sealed)?;
        aes_256_gcm_decrypt(&key, iv, b"", sealed, &mut opened).map_err(|_| KeyBundleError::Sealed)?;
        let [companion, account, random] = opened.as_chunks::<32>().0 else {
            return Err(KeyBundleError::Keys);
        };
        if companion != device || *account != self.identity() {
            return Err(KeyBundleError::Keys);
        }
        let secret = [ephemeral, agree(&self.identity, device)?, *random].concat();
        derive(&secret, None, ADV_SECRET)
    }
}

fn derive(secret: &[u8], salt: Option<&[u8]>, info: &[u8]) -> Result<[u8; 32], KeyBundleError> {
    let mut key = [0; 32];
    hkdf_sha256_into(secret, salt, info, &mut key).map_err(|_| KeyBundleError::Sealed)?;
    Ok(key)
}
