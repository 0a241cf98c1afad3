//! A phone's own pre-key, with which a device opens a session to it. One signed pre-key and no one-time ones: a phone
//! whose one-time keys are used up is answered for likewise.
//!
//! Source: `wacore-libsignal` 0.7.0 `protocol/storage` (the traits), `state/signed_prekey.rs`.

use async_trait::async_trait;
use wacore::libsignal::protocol::{
    self as signal, GenericSignedPreKey as _, KeyPair, PreKeyId, PreKeyRecord, PreKeyStore,
    SignalProtocolError, SignedPreKeyId, SignedPreKeyRecord, SignedPreKeyStore, Timestamp,
};

use super::PhoneError;

const ID: u32 = 1;
/// Goes before a Curve25519 key where it is signed.
const DJB_TYPE: u8 = 5;

/// The private half.
#[derive(Clone)]
pub(crate) struct OwnKeys(KeyPair);

/// The public half, as a device gets it.
pub(crate) struct PublicBundle {
    pub(crate) registration_id: u32,
    pub(crate) identity: Vec<u8>,
    pub(crate) id: u32,
    pub(crate) public: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl OwnKeys {
    pub(super) fn generate() -> Self {
        Self(KeyPair::generate(&mut rand::rng()))
    }

    /// The public half, signed by the account's identity.
    pub(super) fn bundle(
        &self,
        identity: &KeyPair,
        registration_id: u32,
    ) -> Result<PublicBundle, PhoneError> {
        let public = self.0.public_key.public_key_bytes().to_vec();
        let signed: [&[u8]; 2] = [&[DJB_TYPE], &public];
        let signature =
            identity.private_key.calculate_signature_for_multipart_message(&signed, &mut rand::rng())?;
        Ok(PublicBundle {
            registration_id,
            identity: identity.public_key.public_key_bytes().to_vec(),
            id: ID,
            signature: signature.to_vec(),
            public,
        })
    }
}

#[async_trait]
impl SignedPreKeyStore for OwnKeys {
    async fn get_signed_pre_key(&self, _: SignedPreKeyId) -> signal::error::Result<SignedPreKeyRecord> {
        Ok(SignedPreKeyRecord::new(ID.into(), Timestamp::from_epoch_millis(0), &self.0, &[]))
    }

    async fn save_signed_pre_key(
        &mut self,
        _: SignedPreKeyId,
        _: &SignedPreKeyRecord,
    ) -> signal::error::Result<()> {
        Ok(())
    }
}

#[async_trait]
impl PreKeyStore for OwnKeys {
    async fn get_pre_key(&self, _: PreKeyId) -> signal::error::Result<PreKeyRecord> {
        Err(SignalProtocolError::InvalidPreKeyId)
    }

    async fn save_pre_key(&mut self, _: PreKeyId, _: &PreKeyRecord) -> signal::error::Result<()> {
        Ok(())
    }

    async fn remove_pre_key(&mut self, _: PreKeyId) -> signal::error::Result<()> {
        Ok(())
    }
}
