//! `ProtocolStore`: who holds our sender keys, LIDs, base keys, device lists, groups, and by way of `lid`,
//! `token` and `messages` the rest.
//!
//! Longer than it is complex: 36 methods, most of them one line. The library calls it.

use async_trait::async_trait;
use bytes::Bytes;
use wacore::store::error::Result;
use wacore::store::traits::{
    DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore, TcTokenEntry,
};

use super::engine::Change::{Clear, Delete, Put};
use super::engine::Table::{BaseKey, Devices, Group, Holder};
use super::{DeviceStorage, key, row};

#[async_trait]
impl ProtocolStore for DeviceStorage {
    async fn get_sender_key_devices(&self, group_jid: &str) -> Result<Vec<(String, bool)>> {
        let rows = self.scan(Holder, key::first(group_jid)).await?;
        let holder = |(key, has_key): &(Vec<u8>, Bytes)| {
            Ok((key::second(key).ok_or_else(|| row::unreadable(Holder))?.to_owned(), has_key[..] == [1]))
        };
        rows.iter().map(holder).collect()
    }

    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> Result<()> {
        let put = |(device, has_key): &(&str, bool)| {
            let value = if *has_key { &[1] } else { &[0] };
            Put(Holder, key::pair(group_jid, device.as_bytes()), Bytes::from_static(value))
        };
        self.apply(entries.iter().map(put).collect()).await
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> Result<()> {
        self.apply(vec![Clear(Holder, key::first(group_jid))]).await
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> Result<()> {
        if device_jids.is_empty() {
            return Ok(());
        }
        let lock = self.lock().await;
        let mut rows = self.scan(Holder, Vec::new()).await?;
        rows.retain(|(key, _)| key::second(key).is_some_and(|device| device_jids.contains(&device)));
        self.commit(lock, rows.into_iter().map(|(key, _)| Delete(Holder, key)).collect()).await
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        self.apply(vec![Clear(Holder, Vec::new())]).await
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        self.by_lid(lid).await
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        self.by_phone(phone).await
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        self.map_lids(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> Result<()> {
        self.map_lids(entries).await
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        self.all_lids().await
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> Result<()> {
        self.apply(vec![Put(
            BaseKey,
            key::pair(address, message_id.as_bytes()),
            Bytes::copy_from_slice(base_key),
        )])
        .await
    }

    async fn has_same_base_key(
        &self,
        address: &str,
        message_id: &str,
        current_base_key: &[u8],
    ) -> Result<bool> {
        let stored = self.get(BaseKey, key::pair(address, message_id.as_bytes())).await?;
        Ok(stored.is_some_and(|stored| stored == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> Result<()> {
        self.apply(vec![Delete(BaseKey, key::pair(address, message_id.as_bytes()))]).await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<()> {
        self.update_device_lists(vec![record]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> Result<()> {
        let put = |record: &DeviceListRecord| Ok(Put(Devices, key::text(&record.user), row::encode(record)?));
        self.apply(records.iter().map(put).collect::<Result<_>>()?).await
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>> {
        self.get(Devices, key::text(user)).await?.map(|record| row::decode(Devices, &record)).transpose()
    }

    async fn delete_devices(&self, user: &str) -> Result<()> {
        self.apply(vec![Delete(Devices, key::text(user))]).await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.get(Group, key::text(group_jid)).await?.map(Vec::from))
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> Result<()> {
        self.apply(vec![Put(Group, key::text(group_jid), Bytes::copy_from_slice(blob))]).await
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> Result<()> {
        self.apply(vec![Delete(Group, key::text(group_jid))]).await
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        self.token(jid).await
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        self.put_token(jid, entry).await
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<()> {
        self.drop_token(jid).await
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>> {
        self.token_jids().await
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        self.sweep_tokens(token_cutoff, sender_cutoff).await
    }

    async fn touch_tc_token_sender_timestamp(&self, jid: &str, sender_timestamp: i64) -> Result<()> {
        self.token_given(jid, sender_timestamp).await
    }

    async fn store_received_tc_token(&self, jid: &str, token: &[u8], token_timestamp: i64) -> Result<()> {
        self.token_received(jid, token, token_timestamp).await
    }

    async fn store_sent_message(&self, chat_jid: &str, message_id: &str, payload: &[u8]) -> Result<()> {
        self.keep_sent(chat_jid, message_id, payload).await
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>> {
        self.take_sent(chat_jid, message_id).await
    }

    async fn delete_expired_sent_messages(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.sweep_sent(cutoff_timestamp).await
    }

    async fn store_pending_inbound(&self, chat: &str, sender: &str, id: &str, message: &[u8]) -> Result<()> {
        self.keep_pending(&[PendingInboundRow { chat, sender, id, message }]).await
    }

    async fn get_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<Option<Vec<u8>>> {
        self.pending(chat, sender, id).await
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<()> {
        self.drop_pending(&[PendingInboundKey { chat, sender, id }]).await
    }

    async fn delete_expired_pending_inbound(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.sweep_pending(cutoff_timestamp).await
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        self.keep_pending(rows).await
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        self.drop_pending(keys).await
    }
}
