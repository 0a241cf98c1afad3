//! The app state of an account: its collections under its one key. A new account has its push name
//! as a first patch and nothing else; one with a history has records that a fresh device gets as snapshots.
//! Patches of devices are kept and handed on as they came; `server::app_state` asks for them.
//!
//! Source: `wacore-appstate` 0.7.0 (`encode.rs`, `hash.rs`), whose functions do the work here.

use std::collections::BTreeMap;

use buffa::MessageField;
use wacore::appstate::hash::generate_index_mac;
use waproto::whatsapp::{SyncdMutation, syncd_mutation::SyncdOperation};

use super::PhoneError;
use super::blobs::{Blob, Blobs};
use super::collection::{Collection, Update};
use super::history::{self, Entry, PUSH_NAME_COLLECTION};
use super::sync_key::{Means, SyncKey};

/// Everything that is encrypted under an account's key.
pub(crate) struct AppState {
    number: String,
    key: SyncKey,
    /// How many contacts its history has; 0 is an account without one.
    contacts: usize,
    collections: BTreeMap<String, Collection>,
    blobs: Blobs,
}

impl AppState {
    pub(super) fn new(number: String, contacts: usize) -> Self {
        Self::under(SyncKey::generate(), number, contacts)
    }

    fn under(key: SyncKey, number: String, contacts: usize) -> Self {
        Self { number, key, contacts, collections: BTreeMap::new(), blobs: Blobs::default() }
    }

    /// The same account with another history, of which this one knows nothing yet. It is made apart because ten thousand
    /// contacts take seconds to encrypt; [`AppState::adopt`] takes it.
    pub(super) fn rewritten(&self, contacts: usize) -> Self {
        Self::under(self.key.clone(), self.number.clone(), contacts)
    }

    /// Encrypts all of it, including the snapshots.
    pub(crate) fn prepare(&mut self, push_name: &str) -> Result<(), PhoneError> {
        for (name, entries) in history::of(self.contacts, push_name) {
            self.start(name, &entries)?;
            self.update(name, 0, false, push_name)?;
        }
        Ok(())
    }

    /// Takes over the history of `other`. Collections that devices may have seen are led there by a patch. What changed, with
    /// its new version.
    pub(super) fn adopt(&mut self, other: Self, push_name: &str) -> Result<Vec<(String, u64)>, PhoneError> {
        let before = history::of(self.contacts, push_name);
        self.contacts = other.contacts;
        self.blobs.adopt(other.blobs);
        let mut changed = Vec::new();
        for (name, new) in other.collections {
            let Some(old) = self.collections.get_mut(&name) else {
                changed.push((name.clone(), new.version()));
                self.collections.insert(name, new);
                continue;
            };
            let entries =
                before.iter().find(|(known, _)| *known == name).map(|(_, entries)| entries.as_slice());
            let mutations = difference(&self.key, entries.unwrap_or_default(), old, &new);
            if !mutations.is_empty() {
                let mut means = Means { number: &self.number, key: &self.key, blobs: &mut self.blobs };
                old.write(&name, mutations, &mut means)?;
                changed.push((name, old.version()));
            }
        }
        Ok(changed)
    }

    /// What a device that has version `since` must still learn. With `wrong` the MAC of a snapshot does not hold.
    pub(super) fn update(
        &mut self,
        name: &str,
        since: u64,
        wrong: bool,
        push_name: &str,
    ) -> Result<Update, PhoneError> {
        self.ensure(name, push_name)?;
        let Some(collection) = self.collections.get_mut(name) else { return Ok(Update::default()) };
        let fresh = since == 0 && self.contacts > 0 || !collection.reaches(since);
        if !fresh || collection.version() == 0 {
            return Ok(collection.after(since));
        }
        let mut means = Means { number: &self.number, key: &self.key, blobs: &mut self.blobs };
        let snapshot = Some(collection.snapshot(name, wrong, &mut means)?);
        Ok(Update { version: collection.version(), snapshot, patches: Vec::new() })
    }

    /// Adds a device's patch made on top of `base`; the new version, or `None` when `base` is not the newest.
    pub(super) fn push(
        &mut self,
        name: &str,
        base: u64,
        patch: &[u8],
        push_name: &str,
    ) -> Result<Option<u64>, PhoneError> {
        self.ensure(name, push_name)?;
        self.collections.entry(name.to_owned()).or_default().push(base, patch)
    }

    /// Changes the push name for devices that are linked from now on.
    pub(super) fn forget_push_name(&mut self) {
        self.collections.remove(PUSH_NAME_COLLECTION);
    }

    pub(super) fn blob(&self, name: &str) -> Option<Blob> {
        self.blobs.get(name)
    }

    pub(super) fn key(&self) -> &SyncKey {
        &self.key
    }

    pub(super) fn contacts(&self) -> usize {
        self.contacts
    }

    fn ensure(&mut self, name: &str, push_name: &str) -> Result<(), PhoneError> {
        if self.collections.contains_key(name) {
            return Ok(());
        }
        if self.contacts > 0 {
            let entries = history::of(self.contacts, push_name).into_iter().find(|(known, _)| *known == name);
            return entries.map_or(Ok(()), |(name, entries)| self.start(name, &entries));
        }
        if name == PUSH_NAME_COLLECTION {
            let mut means = Means { number: &self.number, key: &self.key, blobs: &mut self.blobs };
            let mut collection = Collection::default();
            collection.write(name, vec![self.key.seal(&history::push_name(push_name))], &mut means)?;
            self.collections.insert(name.to_owned(), collection);
        }
        Ok(())
    }

    fn start(&mut self, name: &str, entries: &[Entry]) -> Result<(), PhoneError> {
        let mutations: Vec<_> = entries.iter().map(|entry| self.key.seal(entry)).collect();
        self.collections.insert(name.to_owned(), Collection::with_records(&mutations)?);
        Ok(())
    }
}

/// The patch from `old`, with the history `entries`, to `new`. What devices wrote into `old` is kept.
fn difference(key: &SyncKey, entries: &[Entry], old: &Collection, new: &Collection) -> Vec<SyncdMutation> {
    let stood = entries
        .iter()
        .map(|entry| (generate_index_mac(entry.index.as_bytes(), &key.expanded().index), entry));
    let gone = stood.filter(|(mac, _)| old.has(mac) && !new.has(mac));
    let gone = gone.map(|(_, entry)| key.seal_as(SyncdOperation::REMOVE, entry));
    let added = new.records().filter(|(mac, _)| !old.has(mac));
    let added = added.map(|(_, record)| SyncdMutation {
        operation: Some(SyncdOperation::SET.into()),
        record: MessageField::some(record.clone()),
    });
    gone.chain(added).collect()
}
