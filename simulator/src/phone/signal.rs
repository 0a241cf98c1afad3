//! Signal, from the side of a phone: one session with one device, kept in memory. Friends only write; the phone of an
//! account also reads what its devices ask.
//!
//! Source: `wacore-libsignal` 0.7.0 `protocol` (`process_prekey_bundle`, `message_encrypt`, `message_decrypt`).

use async_trait::async_trait;
use buffa::Message as _;
use futures::FutureExt as _;
use wacore::libsignal::protocol::{
    self as signal, CiphertextMessage, CiphertextMessageType, Direction, IdentityChange, IdentityKey,
    IdentityKeyPair, IdentityKeyStore, KeyPair, PreKeyBundle, PreKeySignalMessage, ProtocolAddress,
    SessionRecord, SessionStore, SignalMessage, UsePQRatchet,
};
use wacore::messages::MessageUtils;
use waproto::whatsapp::Message;

use super::PhoneError;
use super::prekeys::OwnKeys;

/// The store holds one session, so its key needs no meaning.
const PEER: &str = "device";

/// An encrypted message.
pub(crate) struct Sealed {
    /// `pkmsg` until the device has written in the session, then `msg`: as a real phone cannot know before that the device
    /// has it.
    pub(crate) kind: &'static str,
    pub(crate) ciphertext: Vec<u8>,
}

/// One session.
pub(crate) struct Sender {
    session: Session,
    identity: Identity,
    peer: ProtocolAddress,
}

struct Session(Option<SessionRecord>);

struct Identity {
    own: IdentityKeyPair,
    registration_id: u32,
}

impl Sender {
    pub(super) fn new(own: KeyPair, registration_id: u32) -> Self {
        let own = IdentityKeyPair::new(IdentityKey::new(own.public_key), own.private_key);
        Self {
            session: Session(None),
            identity: Identity { own, registration_id },
            peer: ProtocolAddress::new(PEER, 0.into()),
        }
    }

    /// Encrypts `message`, opening the session with `bundle` if there is none yet.
    pub(crate) fn seal(
        &mut self,
        message: &Message,
        bundle: impl FnOnce() -> Result<PreKeyBundle, PhoneError>,
    ) -> Result<Sealed, PhoneError> {
        if self.session.0.is_none() {
            let bundle = bundle()?;
            let mut rng = rand::rng();
            signal::process_prekey_bundle(
                &self.peer,
                &mut self.session,
                &mut self.identity,
                &bundle,
                &mut rng,
                UsePQRatchet::No,
            )
            .now_or_never()
            .ok_or(PhoneError::Waited)??;
        }
        let padded = MessageUtils::encode_and_pad(message);
        let sealed = signal::message_encrypt(&padded, &self.peer, &mut self.session, &mut self.identity)
            .now_or_never()
            .ok_or(PhoneError::Waited)??;
        let kind = match sealed.message_type() {
            CiphertextMessageType::PreKey => "pkmsg",
            _ => "msg",
        };
        Ok(Sealed { kind, ciphertext: sealed.serialize().to_vec() })
    }

    /// Decrypts what the device wrote to the phone with these keys; `kind` as in [`Sealed`].
    pub(crate) fn open(&mut self, keys: &OwnKeys, kind: &str, bytes: &[u8]) -> Result<Message, PhoneError> {
        let message = match kind {
            "pkmsg" => CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(bytes)?),
            _ => CiphertextMessage::SignalMessage(SignalMessage::try_from(bytes)?),
        };
        let mut one_time = keys.clone();
        let opened = signal::message_decrypt(
            &message,
            &self.peer,
            &mut self.session,
            &mut self.identity,
            &mut one_time,
            keys,
            &mut rand::rng(),
            UsePQRatchet::No,
        )
        .now_or_never()
        .ok_or(PhoneError::Waited)??;
        let unreadable = |why: &dyn std::fmt::Display| PhoneError::Unreadable(why.to_string());
        let plain =
            MessageUtils::unpad_message_ref(&opened.plaintext, 2).map_err(|error| unreadable(&error))?;
        Message::decode_from_slice(plain).map_err(|error| unreadable(&error))
    }
}

#[async_trait]
impl SessionStore for Session {
    async fn load_session(&self, _: &ProtocolAddress) -> signal::error::Result<Option<SessionRecord>> {
        Ok(self.0.clone())
    }

    async fn has_session(&self, _: &ProtocolAddress) -> signal::error::Result<bool> {
        Ok(self.0.is_some())
    }

    async fn store_session(
        &mut self,
        _: &ProtocolAddress,
        record: SessionRecord,
    ) -> signal::error::Result<()> {
        self.0 = Some(record);
        Ok(())
    }
}

#[async_trait]
impl IdentityKeyStore for Identity {
    async fn get_identity_key_pair(&self) -> signal::error::Result<IdentityKeyPair> {
        Ok(self.own.clone())
    }

    async fn get_local_registration_id(&self) -> signal::error::Result<u32> {
        Ok(self.registration_id)
    }

    async fn save_identity(
        &mut self,
        _: &ProtocolAddress,
        _: &IdentityKey,
    ) -> signal::error::Result<IdentityChange> {
        Ok(IdentityChange::NewOrUnchanged)
    }

    async fn is_trusted_identity(
        &self,
        _: &ProtocolAddress,
        _: &IdentityKey,
        _: Direction,
    ) -> signal::error::Result<bool> {
        Ok(true)
    }

    async fn get_identity(&self, _: &ProtocolAddress) -> signal::error::Result<Option<IdentityKey>> {
        Ok(None)
    }
}
