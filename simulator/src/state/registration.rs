//! What a device declares when it registers, and the key bundle that it keeps at the server.
//! Every signature and length that WhatsApp could check is checked here; stanzas are read in `server::prekeys`.
//!
//! Source: `wacore` 0.7.0 `store/device.rs` (`get_registration_payload`), `iq/prekeys.rs`, `prekeys.rs` (`compute_key_bundle_digest`).

use std::collections::BTreeMap;

use buffa::Message as _;
use wacore::libsignal::crypto::CryptographicHash;
use wacore::libsignal::protocol::{CurveError, IdentityKey, PreKeyBundle, PublicKey, SignalProtocolError};
use waproto::whatsapp::{ClientPayload, DeviceProps, device_props::PlatformType};

/// Type byte of a Curve25519 key.
pub(crate) const DJB_TYPE: u8 = 5;

/// What is wrong with a registration or an upload.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreKeyError {
    #[error("{0} is missing or has the wrong length")]
    Field(&'static str),
    #[error("the key type is not 5")]
    KeyType,
    #[error("the signature of the signed pre-key does not hold")]
    Signature,
    #[error("the device properties cannot be read")]
    DeviceProps,
    #[error("{0} is not the one of the registration")]
    Changed(&'static str),
    #[error("pre-key id {0} occurs twice")]
    Repeated(u32),
    #[error("no pre-keys in the upload")]
    Empty,
    #[error("the key bundle is unusable: {0}")]
    Curve(#[from] CurveError),
    #[error("the key bundle is unusable: {0}")]
    Signal(#[from] SignalProtocolError),
}

/// A pre-key signed by the device's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedPreKey {
    pub(crate) id: u32,
    pub(crate) public: [u8; 32],
    pub(crate) signature: [u8; 64],
}

/// A registration payload that holds.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) noise_public: [u8; 32],
    pub(crate) identity: [u8; 32],
    pub(crate) registration_id: u32,
    pub(crate) signed_pre_key: SignedPreKey,
    /// `DeviceProps.os`.
    pub(crate) name: String,
    /// `DeviceProps.platformType` by its name, which decides the phone's icon.
    pub(crate) platform: String,
}

/// The bundle that others fetch to write to the device.
pub(crate) struct Keys {
    identity: [u8; 32],
    registration_id: u32,
    signed_pre_key: SignedPreKey,
    one_time: BTreeMap<u32, [u8; 32]>,
    uploaded: bool,
}

impl Registration {
    /// Reads and checks the payload of an unpaired client whose Noise key is `noise_public`.
    pub(crate) fn read(payload: &ClientPayload, noise_public: [u8; 32]) -> Result<Self, PreKeyError> {
        let data =
            payload.device_pairing_data.as_option().ok_or(PreKeyError::Field("device_pairing_data"))?;
        if data.e_keytype.as_deref() != Some(&[DJB_TYPE]) {
            return Err(PreKeyError::KeyType);
        }
        let identity = exactly(data.e_ident.as_deref(), "e_ident")?;
        let signed_pre_key = SignedPreKey {
            id: id(data.e_skey_id.as_deref(), "e_skey_id")?,
            public: exactly(data.e_skey_val.as_deref(), "e_skey_val")?,
            signature: exactly(data.e_skey_sig.as_deref(), "e_skey_sig")?,
        };
        signed_pre_key.verify(&identity)?;
        let props = data.device_props.as_deref().ok_or(PreKeyError::Field("device_props"))?;
        let props = DeviceProps::decode_from_slice(props).map_err(|_| PreKeyError::DeviceProps)?;
        Ok(Self {
            noise_public,
            identity,
            registration_id: u32::from_be_bytes(exactly(data.e_regid.as_deref(), "e_regid")?),
            signed_pre_key,
            platform: format!("{:?}", props.platform_type.unwrap_or(PlatformType::UNKNOWN)),
            name: props.os.unwrap_or_default(),
        })
    }
}

impl SignedPreKey {
    /// The identity signs the key with its type byte in front.
    pub(crate) fn verify(&self, identity: &[u8; 32]) -> Result<(), PreKeyError> {
        let identity = PublicKey::from_djb_public_key_bytes(identity)?;
        match identity.verify_signature_for_multipart_message(&[&[DJB_TYPE], &self.public], &self.signature) {
            true => Ok(()),
            false => Err(PreKeyError::Signature),
        }
    }
}

impl Keys {
    pub(super) fn new(registration: &Registration) -> Self {
        Self {
            identity: registration.identity,
            registration_id: registration.registration_id,
            signed_pre_key: registration.signed_pre_key.clone(),
            one_time: BTreeMap::new(),
            uploaded: false,
        }
    }

    /// Takes an upload: the same identity and registration as before, a signed pre-key that holds, fresh ids.
    pub(crate) fn upload(
        &mut self,
        registration_id: u32,
        identity: [u8; 32],
        signed: SignedPreKey,
        one_time: &[(u32, [u8; 32])],
    ) -> Result<(), PreKeyError> {
        if identity != self.identity {
            return Err(PreKeyError::Changed("the identity"));
        }
        if registration_id != self.registration_id {
            return Err(PreKeyError::Changed("the registration id"));
        }
        if one_time.is_empty() {
            return Err(PreKeyError::Empty);
        }
        signed.verify(&self.identity)?;
        let mut fresh = BTreeMap::new();
        for (id, public) in one_time {
            if fresh.insert(*id, *public).is_some() {
                return Err(PreKeyError::Repeated(*id));
            }
        }
        self.signed_pre_key = signed;
        self.one_time.extend(fresh);
        self.uploaded = true;
        Ok(())
    }

    /// Takes another signed pre-key.
    pub(crate) fn rotate(&mut self, signed: SignedPreKey) -> Result<(), PreKeyError> {
        signed.verify(&self.identity)?;
        self.signed_pre_key = signed;
        Ok(())
    }

    /// Removes one-time pre-keys until this many are left, as if others had used them.
    pub(crate) fn use_up(&mut self, but: usize) {
        while self.one_time.len() > but {
            self.one_time.pop_first();
        }
    }

    /// How many one-time pre-keys are left.
    pub(crate) fn left(&self) -> usize {
        self.one_time.len()
    }

    /// The bundle for one new session; it costs a one-time pre-key, if there is one.
    pub(crate) fn bundle(&mut self, device: u16) -> Result<PreKeyBundle, PreKeyError> {
        let one_time = self.one_time.pop_first();
        let one_time = match one_time {
            Some((id, key)) => Some((id.into(), PublicKey::from_djb_public_key_bytes(&key)?)),
            None => None,
        };
        Ok(PreKeyBundle::new(
            self.registration_id,
            u32::from(device).into(),
            one_time,
            self.signed_pre_key.id.into(),
            PublicKey::from_djb_public_key_bytes(&self.signed_pre_key.public)?,
            self.signed_pre_key.signature.to_vec(),
            IdentityKey::new(PublicKey::from_djb_public_key_bytes(&self.identity)?),
        )?)
    }

    /// What a digest query is answered with; `None` before the first upload.
    pub(crate) fn digest(&self) -> Option<Digest<'_>> {
        if !self.uploaded {
            return None;
        }
        let mut hash = CryptographicHash::new("SHA-1").ok()?;
        hash.update(&self.identity);
        hash.update(&self.signed_pre_key.public);
        hash.update(&self.signed_pre_key.signature);
        self.one_time.values().for_each(|key| hash.update(key));
        Some(Digest {
            identity: &self.identity,
            registration_id: self.registration_id,
            signed_pre_key: &self.signed_pre_key,
            ids: self.one_time.keys().copied().collect(),
            hash: hash.finalize(),
        })
    }
}

/// The server's copy of a bundle, in short.
pub(crate) struct Digest<'a> {
    pub(crate) identity: &'a [u8; 32],
    pub(crate) registration_id: u32,
    pub(crate) signed_pre_key: &'a SignedPreKey,
    pub(crate) ids: Vec<u32>,
    pub(crate) hash: Vec<u8>,
}

/// A field of exactly `N` bytes.
pub(crate) fn exactly<const N: usize>(
    bytes: Option<&[u8]>,
    name: &'static str,
) -> Result<[u8; N], PreKeyError> {
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(PreKeyError::Field(name))
}

/// An id of three bytes, big endian.
pub(crate) fn id(bytes: Option<&[u8]>, name: &'static str) -> Result<u32, PreKeyError> {
    let [a, b, c] = exactly(bytes, name)?;
    Ok(u32::from_be_bytes([0, a, b, c]))
}
