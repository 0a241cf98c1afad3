//! `AppSyncStore`: keys, versions and MACs of the account's synchronised settings.
//!
//! Checks no MAC and decrypts nothing. The library calls it. Whether an account's settings are complete is decided by
//! what is stored here, not by the library's events: some of its failures have no event, and a client that is built
//! anew reports `Connected` with nothing fetched.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use wacore::appstate::hash::HashState;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::error::Result;
use wacore::store::traits::{AppStateSyncKey, AppSyncStore};

use super::engine::Change::{Clear, Delete, Put};
use super::engine::Table::{Last, SyncKey, SyncMac, SyncVersion};
use super::{DeviceStorage, Stored, key, row};
use crate::event::Missing;

/// The key of the row in `Last` that holds the id of the key stored last.
const LAST_KEY: &str = "synckey";

/// The collections for which a fresh device waits. Source: `sync_collections_batched` in `client/node_io.rs` of
/// whatsapp-rust 0.7.0.
const CRITICAL: [&str; 2] = ["critical_block", "critical_unblock_low"];

impl DeviceStorage {
    /// What of the account is not stored yet. A collection has a version as soon as it was received, even if it is
    /// empty.
    pub(super) async fn what_is_missing(&self) -> Result<Option<Missing>> {
        if self.get(Last, key::text(LAST_KEY)).await?.is_none() {
            return Ok(Some(Missing::Keys));
        }
        let versions = self.get_many(SyncVersion, CRITICAL.map(key::text).to_vec()).await?;
        Ok(versions.iter().any(Option::is_none).then_some(Missing::Settings))
    }
}

#[async_trait]
impl AppSyncStore for DeviceStorage {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        let stored = self.get(SyncKey, key_id.to_vec()).await?;
        stored.map(|key| row::decode(SyncKey, &key)).transpose()
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> Result<()> {
        let last = Put(Last, key::text(LAST_KEY), Bytes::copy_from_slice(key_id));
        self.apply(vec![Put(SyncKey, key_id.to_vec(), row::encode(&key)?), last]).await?;
        self.tell(Stored::Key);
        Ok(())
    }

    async fn get_version(&self, name: &str) -> Result<HashState> {
        let stored = self.get(SyncVersion, key::text(name)).await?;
        stored.map_or_else(|| Ok(HashState::default()), |state| row::decode(SyncVersion, &state))
    }

    async fn set_version(&self, name: &str, state: HashState) -> Result<()> {
        self.apply(vec![Put(SyncVersion, key::text(name), row::encode(&state)?)]).await?;
        if CRITICAL.contains(&name) {
            self.tell(Stored::Settings);
        }
        Ok(())
    }

    async fn put_mutation_macs(
        &self,
        name: &str,
        _version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> Result<()> {
        // The version of a MAC is never asked for.
        let put = |mac: &AppStateMutationMAC| {
            Put(SyncMac, key::pair(name, &mac.index_mac), Bytes::copy_from_slice(&mac.value_mac))
        };
        self.apply(mutations.iter().map(put).collect()).await
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.get(SyncMac, key::pair(name, index_mac)).await?.map(Vec::from))
    }

    async fn get_mutation_macs(
        &self,
        name: &str,
        index_macs: &[[u8; 32]],
    ) -> Result<HashMap<[u8; 32], Vec<u8>>> {
        let keys = index_macs.iter().map(|index_mac| key::pair(name, index_mac)).collect();
        let stored = self.get_many(SyncMac, keys).await?;
        Ok(index_macs
            .iter()
            .zip(stored)
            .filter_map(|(index_mac, mac)| Some((*index_mac, mac?.into())))
            .collect())
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        self.apply(index_macs.iter().map(|index_mac| Delete(SyncMac, key::pair(name, index_mac))).collect())
            .await
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<()> {
        self.apply(vec![Clear(SyncMac, key::first(name))]).await
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.get(Last, key::text(LAST_KEY)).await?.map(Vec::from))
    }
}
