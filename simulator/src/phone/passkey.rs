//! The passkey step ("shortcake" in WhatsApp's words), from the side of the phone and its account: the request for an
//! assertion, the ephemeral handshake, the code that both show, and the secret that comes out of it.
//! What an assertion must be is in `assertion`.
//!
//! Source: `wacore` 0.7.0 `shortcake.rs`, `whatsapp-rust` 0.7.0 `passkey/flow.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use buffa::Message as _;
use rand::RngExt as _;
use serde_json::json;
use wacore::libsignal::crypto::aes_256_gcm_decrypt;
use wacore::libsignal::protocol::KeyPair;
use wacore::shortcake::ShortcakeUtils;
use waproto::whatsapp::{
    CompanionEphemeralIdentity, EncryptedPairingRequest, PairingRequest, PrimaryEphemeralIdentity,
    ProloguePayload, device_props::PlatformType,
};

use super::assertion::{self, Expected};
use super::authenticator::RELYING_PARTY;
use super::error::PasskeyError;

/// How long a person has for the step, in milliseconds.
const TIMEOUT: u32 = 600_000;

/// One passkey step of one device.
pub(crate) struct Ceremony {
    challenge: [u8; 32],
    /// The passkey that the account knows, if it knows one.
    public_key: Option<Vec<u8>>,
    /// The reference that ties the step to its connection.
    pub(crate) reference: String,
    ephemeral: KeyPair,
    nonce: [u8; 32],
    companion: Option<Companion>,
    proven: bool,
}

/// What the client committed to.
struct Companion {
    identity: Vec<u8>,
    public: [u8; 32],
    device_type: PlatformType,
    commitment: Vec<u8>,
}

impl Ceremony {
    pub(crate) fn new(reference: String, public_key: Option<Vec<u8>>) -> Self {
        let mut rng = rand::rng();
        Self {
            challenge: rng.random(),
            public_key,
            reference,
            ephemeral: KeyPair::generate(&mut rng),
            nonce: rng.random(),
            companion: None,
            proven: false,
        }
    }

    /// The `PublicKeyCredentialRequestOptions` for the account's passkey.
    pub(crate) fn request_options(&self) -> String {
        json!({
            "challenge": URL_SAFE_NO_PAD.encode(self.challenge),
            "timeout": TIMEOUT,
            "rpId": RELYING_PARTY,
            "allowCredentials": [],
            "userVerification": "required",
            "extensions": { "uvm": true },
        })
        .to_string()
    }

    /// Checks an assertion, and reads the payload sent with it.
    pub(crate) fn prologue(
        &mut self,
        credential_id: &[u8],
        assertion: &[u8],
        payload: &[u8],
    ) -> Result<(), PasskeyError> {
        let expected = Expected {
            challenge: URL_SAFE_NO_PAD.encode(self.challenge),
            public_key: self.public_key.as_deref(),
        };
        assertion::check(assertion, credential_id, &expected)?;
        let payload = ProloguePayload::decode_from_slice(payload)
            .map_err(|_| PasskeyError::Malformed("prologue_payload"))?;
        let identity = payload.companion_ephemeral_identity.ok_or(PasskeyError::Malformed("identity"))?;
        let read = CompanionEphemeralIdentity::decode_from_slice(&identity)
            .map_err(|_| PasskeyError::Malformed("identity"))?;
        let public = read
            .public_key
            .and_then(|key| key.try_into().ok())
            .ok_or(PasskeyError::Malformed("public key"))?;
        let commitment = payload.commitment.as_option().and_then(|commitment| commitment.hash.clone());
        let commitment =
            commitment.filter(|hash| hash.len() == 32).ok_or(PasskeyError::Malformed("commitment"))?;
        if read.r#ref.as_deref() != Some(&self.reference) {
            return Err(PasskeyError::Reference);
        }
        let device_type = read.device_type.ok_or(PasskeyError::Malformed("device type"))?;
        self.companion = Some(Companion { identity, public, device_type, commitment });
        self.proven = false;
        Ok(())
    }

    /// What the client is told after its prologue.
    pub(crate) fn continuation(&self) -> Vec<u8> {
        PrimaryEphemeralIdentity {
            public_key: Some(self.ephemeral.public_key.public_key_bytes().to_vec()),
            nonce: Some(self.nonce.to_vec()),
        }
        .encode_to_vec()
    }

    /// Checks the nonce against the commitment; the code as the phone shows it.
    pub(crate) fn code(&mut self, nonce: &[u8]) -> Result<String, PasskeyError> {
        let companion = self.companion.as_ref().ok_or(PasskeyError::Order("companion_nonce"))?;
        let nonce: &[u8; 32] = nonce.try_into().map_err(|_| PasskeyError::Malformed("companion_nonce"))?;
        if ShortcakeUtils::commitment_hash(&companion.identity, nonce) != *companion.commitment {
            return Err(PasskeyError::Commitment);
        }
        self.proven = true;
        let mut public = [0; 32];
        public.copy_from_slice(self.ephemeral.public_key.public_key_bytes());
        let code = ShortcakeUtils::derive_verification_code(nonce, &public, &self.nonce);
        let (first, second) = code.split_at_checked(4).unwrap_or((&code, ""));
        Ok(format!("{first}-{second}"))
    }

    /// Opens the pairing request of the client with these keys; its new ADV secret.
    pub(crate) fn open(
        &self,
        request: &[u8],
        noise_public: &[u8; 32],
        identity: &[u8; 32],
    ) -> Result<[u8; 32], PasskeyError> {
        let companion = self.companion.as_ref().filter(|_| self.proven);
        let companion = companion.ok_or(PasskeyError::Order("encrypted_pairing_request"))?;
        let key = ShortcakeUtils::derive_encryption_key(
            &self.ephemeral,
            &companion.public,
            companion.device_type,
            &self.reference,
        )
        .map_err(|_| PasskeyError::Sealed)?;
        let request =
            EncryptedPairingRequest::decode_from_slice(request).map_err(|_| PasskeyError::Sealed)?;
        let iv = request.iv.and_then(|iv| iv.try_into().ok()).ok_or(PasskeyError::Malformed("iv"))?;
        let mut opened = Vec::new();
        aes_256_gcm_decrypt(&key, &iv, b"", &request.encrypted_payload.unwrap_or_default(), &mut opened)
            .map_err(|_| PasskeyError::Sealed)?;
        let request = PairingRequest::decode_from_slice(&opened).map_err(|_| PasskeyError::Sealed)?;
        if request.companion_public_key.as_deref() != Some(noise_public)
            || request.companion_identity_key.as_deref() != Some(identity)
        {
            return Err(PasskeyError::Keys);
        }
        request
            .adv_secret
            .and_then(|secret| secret.try_into().ok())
            .ok_or(PasskeyError::Malformed("adv_secret"))
    }
}
