//! A person's authenticator with one passkey for `whatsapp.com`, for tests that have no browser; and the check of what an
//! authenticator signed, which `passkey` makes.
//!
//! Source: Web Authentication Level 3, sections 6.1 (authenticator data) and 7.2 (verifying an assertion).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rand::RngExt as _;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde_json::{Value, json};

/// The relying party of the account's passkey.
pub(super) const RELYING_PARTY: &str = "whatsapp.com";
/// The page on which it may be used.
pub(super) const ORIGIN: &str = "https://web.whatsapp.com";
/// A P-256 point that is not compressed; a DER public key ends with it.
const POINT: usize = 65;
const UNCOMPRESSED: u8 = 4;
/// Authenticator data begin with the hash of the relying party, the flags and a counter.
const HASH: usize = 32;
const HEAD: usize = HASH + 1 + 4;
/// The flags: a person was present and was verified.
const PRESENT_AND_VERIFIED: u8 = 0b101;

/// Why the authenticator failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticatorError {
    /// The system's random numbers or the key failed.
    #[error("the key cannot be made or used")]
    Key,
    /// Not the JSON of request options, or without a challenge.
    #[error("the request options have no challenge")]
    Options,
}

/// An authenticator with one passkey.
pub struct Authenticator {
    pkcs8: Vec<u8>,
    key: EcdsaKeyPair,
    credential: [u8; 16],
}

impl Authenticator {
    /// A new passkey.
    ///
    /// # Errors
    /// [`AuthenticatorError::Key`].
    pub fn new() -> Result<Self, AuthenticatorError> {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            .map_err(|_| AuthenticatorError::Key)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random)
            .map_err(|_| AuthenticatorError::Key)?;
        Ok(Self { pkcs8: pkcs8.as_ref().to_vec(), key, credential: rand::rng().random() })
    }

    /// The public key, base64url, as the account of a phone learns it ([`crate::Simulator::register_passkey`]).
    #[must_use]
    pub fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref())
    }

    /// The private key, PKCS #8 in base64, as a browser's virtual authenticator takes it.
    #[must_use]
    pub fn private_key(&self) -> String {
        STANDARD.encode(&self.pkcs8)
    }

    /// Names the passkey.
    #[must_use]
    pub fn credential_id(&self) -> &[u8] {
        &self.credential
    }

    /// What a browser on WhatsApp's page answers to these request options: an assertion with exactly the fields that
    /// WhatsApp takes.
    ///
    /// # Errors
    /// See [`AuthenticatorError`].
    pub fn assertion(&self, request_options: &str) -> Result<Value, AuthenticatorError> {
        let options: Value =
            serde_json::from_str(request_options).map_err(|_| AuthenticatorError::Options)?;
        let challenge = options["challenge"].as_str().ok_or(AuthenticatorError::Options)?;
        let client_data = json!({
            "type": "webauthn.get", "challenge": challenge, "origin": ORIGIN, "crossOrigin": false,
        })
        .to_string();
        let mut data = digest(&SHA256, RELYING_PARTY.as_bytes()).as_ref().to_vec();
        data.extend([PRESENT_AND_VERIFIED, 0, 0, 0, 0]);
        let signed = signed_bytes(&data, client_data.as_bytes());
        let signature = self.key.sign(&SystemRandom::new(), &signed).map_err(|_| AuthenticatorError::Key)?;
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Ok(json!({
            "id": encode(&self.credential),
            "rawId": encode(&self.credential),
            "type": "public-key",
            "response": {
                "clientDataJSON": encode(client_data.as_bytes()),
                "authenticatorData": encode(&data),
                "signature": encode(signature.as_ref()),
                "userHandle": null,
            },
        }))
    }
}

/// Whether these authenticator data are of the relying party, with the person verified.
pub(super) fn is_verified(data: &[u8]) -> bool {
    let flags = data.get(HASH).copied().unwrap_or_default();
    data.len() >= HEAD
        && data.starts_with(digest(&SHA256, RELYING_PARTY.as_bytes()).as_ref())
        && flags & PRESENT_AND_VERIFIED == PRESENT_AND_VERIFIED
}

/// Whether the passkey with this public key signed.
pub(super) fn has_signed(public_key: &[u8], data: &[u8], client_data: &[u8], signature: &[u8]) -> bool {
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key);
    key.verify(&signed_bytes(data, client_data), signature).is_ok()
}

/// The point of a public key, given as such or in DER; base64 of either kind.
pub(crate) fn read_public_key(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
    let key = URL_SAFE_NO_PAD.decode(text).ok()?;
    let point = key.get(key.len().checked_sub(POINT)?..)?;
    (point.first() == Some(&UNCOMPRESSED)).then(|| point.to_vec())
}

fn signed_bytes(data: &[u8], client_data: &[u8]) -> Vec<u8> {
    [data, digest(&SHA256, client_data).as_ref()].concat()
}
