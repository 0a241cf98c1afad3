//! A group, from the side of a member who writes: one sender key, given to each device by a message for that device alone.
//!
//! Source: `wacore-libsignal` 0.7.0 `protocol/group_cipher.rs`.

use async_trait::async_trait;
use buffa::MessageField;
use futures::FutureExt as _;
use rand::RngExt as _;
use wacore::libsignal::protocol::{
    self as signal, SenderKeyRecord, SenderKeyStore, create_sender_key_distribution_message, group_encrypt,
};
use wacore::libsignal::store::sender_key_name::SenderKeyName;
use wacore::messages::MessageUtils;
use wacore_binary::Jid;
use waproto::whatsapp::{Message, message::SenderKeyDistributionMessage};

use super::PhoneError;

/// One group in which a friend writes.
pub(crate) struct Group {
    pub(crate) jid: Jid,
    name: SenderKeyName,
    key: Key,
}

/// The store holds one sender key, so its name needs no meaning.
struct Key(Option<SenderKeyRecord>);

impl Group {
    /// A group in which `member` writes.
    pub(crate) fn new(member: &Jid) -> Self {
        let number = rand::rng().random_range(120_363_000_000_000_000_u64..120_364_000_000_000_000);
        let jid = Jid::group(number.to_string());
        let name = SenderKeyName::from_parts(&jid.to_string(), &member.to_string());
        Self { jid, name, key: Key(None) }
    }

    /// What a device must be told before it can read: a message for it alone.
    pub(crate) fn key(&mut self) -> Result<Message, PhoneError> {
        let mut rng = rand::rng();
        let key = create_sender_key_distribution_message(&self.name, &mut self.key, &mut rng)
            .now_or_never()
            .ok_or(PhoneError::Waited)??;
        Ok(Message {
            sender_key_distribution_message: MessageField::some(SenderKeyDistributionMessage {
                group_id: Some(self.jid.to_string()),
                axolotl_sender_key_distribution_message: Some(key.serialized().to_vec()),
            }),
            ..Message::default()
        })
    }

    /// Encrypts a message for everybody who has the key.
    pub(crate) fn seal(&mut self, message: &Message) -> Result<Vec<u8>, PhoneError> {
        let padded = MessageUtils::encode_and_pad(message);
        let mut rng = rand::rng();
        let sealed = group_encrypt(&mut self.key, &self.name, &padded, &mut rng)
            .now_or_never()
            .ok_or(PhoneError::Waited)??;
        Ok(sealed.serialized().to_vec())
    }
}

#[async_trait]
impl SenderKeyStore for Key {
    async fn store_sender_key(
        &mut self,
        _: &SenderKeyName,
        record: SenderKeyRecord,
    ) -> signal::error::Result<()> {
        self.0 = Some(record);
        Ok(())
    }

    async fn load_sender_key(&self, _: &SenderKeyName) -> signal::error::Result<Option<SenderKeyRecord>> {
        Ok(self.0.clone())
    }
}
