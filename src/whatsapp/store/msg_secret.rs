//! `MsgSecretStore`: the secrets of messages, with which reactions, edits and votes on them are decrypted
//! later.
//!
//! Knows no retention: the deadline comes with the entry. The library calls it.
//! A row is the deadline (0: never), the message's time (0: unknown), 8 bytes each, and the secret.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use async_trait::async_trait;
use bytes::{BufMut, BytesMut};
use wacore::store::error::Result;
use wacore::store::traits::{
    MessageSecret, MsgSecretEntry, MsgSecretStore, merge_msg_secret_expiry, merge_msg_secret_message_ts,
};

use super::engine::Change::Put;
use super::engine::Table::Secret;
use super::{DeviceStorage, Key, key, row};

struct Kept {
    expires_at: i64,
    message_ts: i64,
    secret: MessageSecret,
}

#[async_trait]
impl MsgSecretStore for DeviceStorage {
    async fn put_msg_secret(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
        secret: &MessageSecret,
    ) -> Result<()> {
        let entry = MsgSecretEntry {
            chat: chat.into(),
            sender: sender.into(),
            msg_id: msg_id.into(),
            secret: *secret,
            expires_at: 0,
            message_ts: 0,
        };
        self.put_msg_secrets(vec![entry]).await.map(|_| ())
    }

    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize> {
        let keys: Vec<Key> =
            entries.iter().map(|entry| key::triple(&entry.chat, &entry.sender, &entry.msg_id)).collect();
        let lock = self.lock().await;
        let stored = self.get_many(Secret, keys.clone()).await?;
        let mut merged: HashMap<Key, Kept> = HashMap::with_capacity(keys.len());
        for ((key, stored), entry) in keys.into_iter().zip(stored).zip(&entries) {
            // The same message may be twice in one batch.
            let old = match merged.entry(key) {
                Entry::Occupied(earlier) => earlier.into_mut(),
                Entry::Vacant(free) => {
                    let old = stored.map(|row| parse(&row)).transpose()?;
                    free.insert(old.unwrap_or_else(|| kept(entry)))
                }
            };
            old.secret = entry.secret;
            old.expires_at = merge_msg_secret_expiry(old.expires_at, entry.expires_at);
            old.message_ts = merge_msg_secret_message_ts(old.message_ts, entry.message_ts);
        }
        let deadlines = merged.values().map(|kept| kept.expires_at).filter(|deadline| *deadline != 0);
        self.secret_sweep.expect(deadlines.min());
        let changes = merged.into_iter().map(|(key, kept)| Put(Secret, key, kept.row().freeze())).collect();
        self.commit(lock, changes).await?;
        Ok(entries.len())
    }

    async fn get_msg_secret(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.get_msg_secret_with_ts(chat, sender, msg_id).await?.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> Result<Option<(Vec<u8>, i64)>> {
        let stored = self.get(Secret, key::triple(chat, sender, msg_id)).await?;
        let kept = stored.map(|row| parse(&row)).transpose()?;
        Ok(kept.map(|kept| (kept.secret.to_vec(), kept.message_ts)))
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.sweep(Secret, &self.secret_sweep, cutoff_timestamp).await
    }
}

impl Kept {
    fn row(&self) -> BytesMut {
        let mut row = BytesMut::with_capacity(16 + self.secret.len());
        row.put_i64(self.expires_at);
        row.put_i64(self.message_ts);
        row.put_slice(&self.secret);
        row
    }
}

fn kept(entry: &MsgSecretEntry) -> Kept {
    Kept { expires_at: entry.expires_at, message_ts: entry.message_ts, secret: entry.secret }
}

fn parse(row: &[u8]) -> Result<Kept> {
    let (expires_at, rest) = row::unstamp(Secret, row)?;
    let (message_ts, secret) = row::unstamp(Secret, rest)?;
    let secret = secret.try_into().map_err(|_| row::unreadable(Secret))?;
    Ok(Kept { expires_at, message_ts, secret })
}
