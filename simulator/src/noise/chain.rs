//! The server's static key and the certificate chain that vouches for it, signed by a root of our own.
//! The real client pins WhatsApp's root: it believes this chain only when built with `danger-skip-cert-chain-verify`, or
//! when it logs in by IK.
//!
//! Source: `wacore-noise` 0.7.0 `HandshakeUtils::verify_server_cert`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use buffa::{Message as _, MessageField};
use wacore::libsignal::protocol::{CurveError, KeyPair};
use waproto::whatsapp::{
    CertChain,
    cert_chain::{NoiseCertificate, noise_certificate::Details},
};

/// How far the validity window reaches to each side of now: outside of it the client never uses IK.
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);
/// The root's serial, which the client demands as the intermediate's issuer.
const ROOT_SERIAL: u32 = 0;
const INTERMEDIATE_SERIAL: u32 = 1;
const LEAF_SERIAL: u32 = 2;

/// The keys and certificates with which the server proves its identity.
pub(crate) struct ServerIdentity {
    pub(crate) static_key: KeyPair,
    /// The encoded `CertChain`.
    pub(crate) chain: Vec<u8>,
    root: KeyPair,
    /// How many seconds the clock was ahead when the chain was signed.
    offset: i64,
}

impl ServerIdentity {
    /// A fresh root with a fresh chain below it.
    pub(crate) fn generate() -> Result<Self, CurveError> {
        Self::below(KeyPair::generate(&mut rand::rng()), KeyPair::generate(&mut rand::rng()), 0)
    }

    /// Another static key under the same root, as when WhatsApp changes its servers' keys.
    pub(crate) fn rotated(&self) -> Result<Self, CurveError> {
        Self::below(self.root.clone(), KeyPair::generate(&mut rand::rng()), self.offset)
    }

    /// The same keys with certificates of a clock that is this many seconds ahead.
    pub(crate) fn at_offset(&self, offset: i64) -> Result<Self, CurveError> {
        Self::below(self.root.clone(), self.static_key.clone(), offset)
    }

    fn below(root: KeyPair, static_key: KeyPair, offset: i64) -> Result<Self, CurveError> {
        let intermediate = KeyPair::generate(&mut rand::rng());
        let chain = CertChain {
            intermediate: certificate(INTERMEDIATE_SERIAL, ROOT_SERIAL, &intermediate, &root, offset)?,
            leaf: certificate(LEAF_SERIAL, INTERMEDIATE_SERIAL, &static_key, &intermediate, offset)?,
        }
        .encode_to_vec();
        Ok(Self { static_key, chain, root, offset })
    }
}

fn certificate(
    serial: u32,
    issuer_serial: u32,
    subject: &KeyPair,
    issuer: &KeyPair,
    offset: i64,
) -> Result<MessageField<NoiseCertificate>, CurveError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = now.saturating_add_signed(offset);
    let details = Details {
        serial: Some(serial),
        issuer_serial: Some(issuer_serial),
        key: Some(subject.public_key.public_key_bytes().to_vec()),
        not_before: Some(now.saturating_sub(VALIDITY.as_secs())),
        not_after: Some(now.saturating_add(VALIDITY.as_secs())),
    }
    .encode_to_vec();
    let signature = issuer.private_key.calculate_signature(&details, &mut rand::rng())?;
    Ok(MessageField::some(NoiseCertificate { details: Some(details), signature: Some(signature.to_vec()) }))
}

#[cfg(test)]
mod tests {
    use super::ServerIdentity;
    use buffa::Message as _;
    use waproto::whatsapp::CertChain;

    #[test]
    fn the_intermediate_is_signed_by_the_root() {
        let identity = ServerIdentity::generate().unwrap();
        let chain = CertChain::decode_from_slice(&identity.chain).unwrap();
        let root = identity.root.public_key;
        let details = chain.intermediate.details.clone().unwrap();
        assert!(root.verify_signature(&details, chain.intermediate.signature.as_deref().unwrap()));
        assert_eq!(identity.rotated().unwrap().root.public_key, root);
    }
}
