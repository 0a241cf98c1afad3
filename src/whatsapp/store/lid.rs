//! Which phone number belongs to which LID: a table each way.
//!
//! A part of `ProtocolStore`, which calls it. A LID has one number; a number leads to the LID it was last
//! stored with. When a LID gets another number, the old number leads nowhere, unless it was stored with
//! another LID since.

use std::collections::HashMap;

use bytes::Bytes;
use wacore::store::error::Result;
use wacore::store::traits::LidPnMappingEntry;

use super::engine::Change::{Delete, Put};
use super::engine::Table::{Lid, Phone};
use super::{DeviceStorage, key, row};

impl DeviceStorage {
    pub(super) async fn by_lid(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        self.get(Lid, key::text(lid)).await?.map(|entry| row::decode(Lid, &entry)).transpose()
    }

    pub(super) async fn by_phone(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        let Some(lid) = self.get(Phone, key::text(phone)).await? else { return Ok(None) };
        self.get(Lid, lid.into()).await?.map(|entry| row::decode(Lid, &entry)).transpose()
    }

    pub(super) async fn map_lids(&self, entries: &[LidPnMappingEntry]) -> Result<()> {
        let lock = self.lock().await;
        let lids = entries.iter().map(|entry| key::text(&entry.lid)).collect();
        // LID → its number, and number → its LID, as they are after the entries handled so far.
        let mut numbers: HashMap<String, String> = HashMap::new();
        for stored in self.get_many(Lid, lids).await?.into_iter().flatten() {
            let old: LidPnMappingEntry = row::decode(Lid, &stored)?;
            numbers.insert(old.lid, old.phone_number);
        }
        let old_numbers: Vec<String> = numbers.values().cloned().collect();
        let stored =
            self.get_many(Phone, old_numbers.iter().map(|number| key::text(number)).collect()).await?;
        let mut leads_to: HashMap<String, Bytes> =
            old_numbers.into_iter().zip(stored).filter_map(|(number, lid)| Some((number, lid?))).collect();

        let mut changes = Vec::with_capacity(2 * entries.len());
        for entry in entries {
            if let Some(old) = numbers.insert(entry.lid.clone(), entry.phone_number.clone())
                && old != entry.phone_number
                && leads_to.get(&old).is_some_and(|lid| lid == entry.lid.as_bytes())
            {
                leads_to.remove(&old);
                changes.push(Delete(Phone, key::text(&old)));
            }
            let lid = Bytes::copy_from_slice(entry.lid.as_bytes());
            leads_to.insert(entry.phone_number.clone(), lid.clone());
            changes.push(Put(Phone, key::text(&entry.phone_number), lid));
            changes.push(Put(Lid, key::text(&entry.lid), row::encode(entry)?));
        }
        self.commit(lock, changes).await
    }

    pub(super) async fn all_lids(&self) -> Result<Vec<LidPnMappingEntry>> {
        self.scan(Lid, Vec::new()).await?.iter().map(|(_, entry)| row::decode(Lid, entry)).collect()
    }
}
