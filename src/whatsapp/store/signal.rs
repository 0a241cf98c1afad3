//! `SignalStore`: identities, Signal sessions, pre-keys, sender keys.
//!
//! No cryptography: records are opaque bytes. The library calls it, behind a cache of its own.
//! A pre-key's row is one byte, whether it was uploaded, and then the record.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use wacore::store::error::Result;
use wacore::store::traits::SignalStore;

use super::engine::Change::{Delete, Put};
use super::engine::Table::{Identity, PreKey, SenderKey, Session, SignedPreKey};
use super::{Change, DeviceStorage, Table, key, row};

#[async_trait]
impl SignalStore for DeviceStorage {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<()> {
        self.apply(vec![Put(Identity, key::text(address), Bytes::copy_from_slice(&key))]).await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> Result<()> {
        let put = |(address, key): &(Arc<str>, [u8; 32])| {
            Put(Identity, key::text(address), Bytes::copy_from_slice(key))
        };
        self.apply(identities.iter().map(put).collect()).await
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>> {
        let stored = self.get(Identity, key::text(address)).await?;
        stored.map(|key| key[..].try_into().map_err(|_| row::unreadable(Identity))).transpose()
    }

    async fn delete_identity(&self, address: &str) -> Result<()> {
        self.apply(vec![Delete(Identity, key::text(address))]).await
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>> {
        self.get(Session, key::text(address)).await
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        self.apply(vec![Put(Session, key::text(address), Bytes::copy_from_slice(session))]).await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.apply(by_address(Session, sessions)).await
    }

    async fn delete_session(&self, address: &str) -> Result<()> {
        self.apply(vec![Delete(Session, key::text(address))]).await
    }

    async fn has_session(&self, address: &str) -> Result<bool> {
        Ok(self.get_session(address).await?.is_some())
    }

    async fn has_signal_state_for_user(&self, user: &str) -> Result<bool> {
        for table in [Session, Identity] {
            // Device 0 is `user@server`, the others are `user:device@server`.
            for end in ['@', ':'] {
                if !self.scan(table, key::text(&format!("{user}{end}"))).await?.is_empty() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn store_prekey(&self, id: u32, record: &[u8], uploaded: bool) -> Result<()> {
        self.apply(vec![Put(PreKey, key::number(id), flagged(uploaded, record))]).await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], uploaded: bool) -> Result<()> {
        let put = |(id, record): &(u32, Bytes)| Put(PreKey, key::number(*id), flagged(uploaded, record));
        self.apply(keys.iter().map(put).collect()).await
    }

    async fn load_prekey(&self, id: u32) -> Result<Option<Bytes>> {
        self.get(PreKey, key::number(id)).await?.map(record).transpose()
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> Result<Vec<(u32, Bytes)>> {
        let stored = self.get_many(PreKey, ids.iter().copied().map(key::number).collect()).await?;
        let found = ids.iter().zip(stored).filter_map(|(id, row)| Some((*id, row?)));
        found.map(|(id, row)| Ok((id, record(row)?))).collect()
    }

    /// Writes nothing, because nobody asks for the mark. Which keys were uploaded is said by a counter of the device, which
    /// the library stores before it uploads.
    async fn mark_prekeys_uploaded(&self, _ids: &[u32]) -> Result<()> {
        let lock = self.lock().await;
        self.commit(lock, Vec::new()).await
    }

    async fn remove_prekey(&self, id: u32) -> Result<()> {
        self.apply(vec![Delete(PreKey, key::number(id))]).await
    }

    async fn get_max_prekey_id(&self) -> Result<u32> {
        let rows = self.scan(PreKey, Vec::new()).await?;
        Ok(rows.iter().filter_map(|(key, _)| key::to_number(key)).max().unwrap_or(0))
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> Result<()> {
        self.apply(vec![Put(SignedPreKey, key::number(id), Bytes::copy_from_slice(record))]).await
    }

    async fn load_signed_prekey(&self, id: u32) -> Result<Option<Vec<u8>>> {
        Ok(self.get(SignedPreKey, key::number(id)).await?.map(Vec::from))
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        let rows = self.scan(SignedPreKey, Vec::new()).await?;
        let pair = |(key, record): (Vec<u8>, Bytes)| {
            Ok((key::to_number(&key).ok_or_else(|| row::unreadable(SignedPreKey))?, record.into()))
        };
        rows.into_iter().map(pair).collect()
    }

    async fn remove_signed_prekey(&self, id: u32) -> Result<()> {
        self.apply(vec![Delete(SignedPreKey, key::number(id))]).await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<()> {
        self.apply(vec![Put(SenderKey, key::text(address), Bytes::copy_from_slice(record))]).await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.apply(by_address(SenderKey, sender_keys)).await
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.get(SenderKey, key::text(address)).await?.map(Vec::from))
    }

    async fn delete_sender_key(&self, address: &str) -> Result<()> {
        self.apply(vec![Delete(SenderKey, key::text(address))]).await
    }
}

fn by_address(table: Table, records: &[(Arc<str>, Bytes)]) -> Vec<Change> {
    records.iter().map(|(address, record)| Put(table, key::text(address), record.clone())).collect()
}

fn flagged(uploaded: bool, record: &[u8]) -> Bytes {
    let mut row = BytesMut::with_capacity(1 + record.len());
    row.extend_from_slice(&[u8::from(uploaded)]);
    row.extend_from_slice(record);
    row.freeze()
}

fn record(mut row: Bytes) -> Result<Bytes> {
    if row.is_empty() {
        return Err(row::unreadable(PreKey));
    }
    Ok(row.split_off(1))
}
