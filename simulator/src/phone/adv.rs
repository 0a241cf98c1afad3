//! Device identities: what a phone signs to vouch for a linked device, and the check of the device's own signature.
//! ("ADV" is WhatsApp's word.) No stanza is built here.
//!
//! Source: `wacore` 0.7.0 `pair.rs` (`do_pair_crypto`, what the client verifies and signs) and `adv.rs` (the prefixes).

use buffa::Message as _;
use wacore::libsignal::crypto::hmac_sha256;
use wacore::libsignal::protocol::{CurveError, PublicKey};
use wacore_binary::Jid;
use waproto::whatsapp::{
    ADVDeviceIdentity, ADVEncryptionType, ADVKeyIndexList, ADVSignedDeviceIdentity,
    ADVSignedDeviceIdentityHMAC, ADVSignedKeyIndexList,
};

use super::Phone;
use super::clock::unix_now;

const ACCOUNT_SIGNATURE: [u8; 2] = [6, 0];
const DEVICE_SIGNATURE: [u8; 2] = [6, 1];
const KEY_INDEX_LIST_SIGNATURE: [u8; 2] = [6, 2];
/// Goes before what the HMAC of a hosted account covers.
const HOSTED: [u8; 2] = [6, 5];

/// A signed invitation for one device, still without the device's own signature.
#[derive(Clone)]
pub(crate) struct Offer {
    pub(crate) jid: Jid,
    pub(crate) lid: Jid,
    pub(crate) key_index: u32,
    /// Content of `<device-identity>` in pair-success.
    pub(crate) container: Vec<u8>,
    /// What the phone's app calls itself.
    pub(crate) platform: &'static str,
    identity: [u8; 32],
    signed: ADVSignedDeviceIdentity,
}

/// What is wrong with the device's signature.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SignError {
    #[error("the signed device identity cannot be read")]
    Malformed,
    #[error("the details or the account's signature were changed")]
    Changed,
    #[error("key-index is not the one that was offered")]
    KeyIndex,
    #[error("the device's signature is wrong")]
    Signature,
}

impl Phone {
    /// Vouches for the device that owns `identity`; `adv_secret` is what it showed in its QR.
    /// `device` is its number, from [`Phone::next_device`].
    ///
    /// A hosted account marks itself and prefixes the HMAC. The device it vouches for is an ordinary one, and so are the
    /// prefixes of both signatures. Source: the library's change 1440, which read them from WhatsApp Web; version 0.7.0
    /// goes by the account instead and refuses with `signature-mismatch`.
    pub(crate) fn offer(
        &self,
        device: u16,
        identity: [u8; 32],
        adv_secret: &[u8; 32],
    ) -> Result<Offer, CurveError> {
        let key_index = u32::from(device);
        let (account_type, prefix, platform): (_, &[u8], _) = match self.hosted {
            true => (ADVEncryptionType::HOSTED, &HOSTED, "smba"),
            false => (ADVEncryptionType::E2EE, &[], "android"),
        };
        let details = ADVDeviceIdentity {
            raw_id: Some(self.raw_id),
            timestamp: Some(unix_now()),
            key_index: Some(key_index),
            account_type: Some(account_type),
            device_type: Some(ADVEncryptionType::E2EE),
        }
        .encode_to_vec();
        let signature = self.sign(&[&ACCOUNT_SIGNATURE, &details, &identity])?;
        let signed = ADVSignedDeviceIdentity {
            details: Some(details),
            account_signature_key: Some(self.identity.public_key.public_key_bytes().to_vec()),
            account_signature: Some(signature),
            device_signature: None,
        };
        let sealed = signed.encode_to_vec();
        let container = ADVSignedDeviceIdentityHMAC {
            hmac: Some(hmac_sha256(adv_secret, &[prefix, &sealed].concat()).to_vec()),
            details: Some(sealed),
            account_type: Some(account_type),
        }
        .encode_to_vec();
        let (jid, lid) = (self.jid().with_device(device), self.lid().with_device(device));
        Ok(Offer { jid, lid, key_index, container, platform, identity, signed })
    }

    /// The account's list of valid devices, as `<key-index-list>` carries it.
    pub(crate) fn key_index_list(&self, valid_indexes: Vec<u32>) -> Result<Vec<u8>, CurveError> {
        let details = ADVKeyIndexList {
            raw_id: Some(self.raw_id),
            timestamp: Some(unix_now()),
            current_index: Some(u32::from(self.last_device)),
            valid_indexes,
            account_type: Some(ADVEncryptionType::E2EE),
        }
        .encode_to_vec();
        let signature = self.sign(&[&KEY_INDEX_LIST_SIGNATURE, &details])?;
        Ok(ADVSignedKeyIndexList {
            details: Some(details),
            account_signature: Some(signature),
            account_signature_key: Some(self.identity.public_key.public_key_bytes().to_vec()),
        }
        .encode_to_vec())
    }
}

impl Offer {
    /// Checks what came back in `<pair-device-sign>`.
    pub(crate) fn accept(&self, answer: &[u8], key_index: Option<u32>) -> Result<(), SignError> {
        if key_index != Some(self.key_index) {
            return Err(SignError::KeyIndex);
        }
        let answer = ADVSignedDeviceIdentity::decode_from_slice(answer).map_err(|_| SignError::Malformed)?;
        if answer.details != self.signed.details || answer.account_signature != self.signed.account_signature
        {
            return Err(SignError::Changed);
        }
        let (Some(details), Some(account), Some(signature)) =
            (&answer.details, &self.signed.account_signature_key, &answer.device_signature)
        else {
            return Err(SignError::Malformed);
        };
        let device =
            PublicKey::from_djb_public_key_bytes(&self.identity).map_err(|_| SignError::Signature)?;
        let message: [&[u8]; 4] = [&DEVICE_SIGNATURE, details, &self.identity, account];
        match device.verify_signature_for_multipart_message(&message, signature) {
            true => Ok(()),
            false => Err(SignError::Signature),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wacore::libsignal::protocol::KeyPair;
    use wacore::pair::{DeviceState, PairUtils};

    fn device() -> (DeviceState, [u8; 32]) {
        let keys = || KeyPair::generate(&mut rand::rng());
        let state = DeviceState { identity_key: keys(), noise_key: keys(), adv_secret_key: [7; 32] };
        let identity = state.identity_key.public_key.public_key_bytes().try_into().unwrap();
        (state, identity)
    }

    #[test]
    fn the_real_client_accepts_an_offer_and_its_signature_holds() {
        let phone = Phone::new("491500000001".into(), "Ada".into(), 0);
        let (state, identity) = device();
        let offer = phone.offer(1, identity, &[7; 32]).unwrap();
        let (answer, index) = PairUtils::do_pair_crypto(&state, &offer.container).unwrap();
        assert_eq!(offer.accept(&answer, Some(index)), Ok(()));
        assert_eq!(offer.accept(&answer, Some(index + 1)), Err(SignError::KeyIndex));
    }

    #[test]
    fn a_hosted_account_is_one_that_the_client_of_0_7_0_cannot_verify() {
        let mut phone = Phone::new("491500000001".into(), "Ada".into(), 0);
        phone.hosted = true;
        let (state, identity) = device();
        let offer = phone.offer(1, identity, &[7; 32]).unwrap();
        let refused = PairUtils::do_pair_crypto(&state, &offer.container).unwrap_err();
        assert_eq!((refused.code, refused.text), (401, "signature-mismatch"));
    }

    #[test]
    fn a_signature_of_another_device_is_refused() {
        let phone = Phone::new("491500000001".into(), "Ada".into(), 0);
        let (state, identity) = device();
        let offer = phone.offer(1, identity, &[7; 32]).unwrap();
        let (answer, index) = PairUtils::do_pair_crypto(&state, &offer.container).unwrap();
        let mut answer = ADVSignedDeviceIdentity::decode_from_slice(&answer).unwrap();
        answer.device_signature = Some(vec![0; 64]);
        assert_eq!(offer.accept(&answer.encode_to_vec(), Some(index)), Err(SignError::Signature));
        answer.details = Some(vec![1]);
        assert_eq!(offer.accept(&answer.encode_to_vec(), Some(index)), Err(SignError::Changed));
    }
}
