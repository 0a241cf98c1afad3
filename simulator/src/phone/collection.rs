//! One collection of an account's app state, as WhatsApp keeps it: a version, the encrypted records that stand at it, the
//! patches that led there, and, for an account with a history, a snapshot on the media host.
//!
//! Source: `wacore-appstate` 0.7.0 (`hash.rs`, `processor.rs`), whose functions do the work here.

use std::collections::BTreeMap;

use buffa::{Message as _, MessageField};
use wacore::appstate::hash::{HashState, generate_patch_mac};
use waproto::whatsapp::{
    ExternalBlobReference, KeyId, SyncdMutation, SyncdMutations, SyncdPatch, SyncdRecord, SyncdSnapshot,
    SyncdVersion, syncd_mutation::SyncdOperation,
};

use super::PhoneError;
use super::sync_key::{Means, SyncKey};

/// A patch with more mutations than this refers to a blob, as WhatsApp's do.
const INLINE: usize = 100;

/// The content of one collection.
#[derive(Default)]
pub(super) struct Collection {
    state: HashState,
    /// By the MAC of their index.
    records: BTreeMap<Vec<u8>, SyncdRecord>,
    /// The version before the first patch that is kept.
    base: u64,
    patches: Vec<Vec<u8>>,
    /// The newest snapshot with a right MAC, and with a wrong one, each as a reference and made when it is asked for.
    snapshots: [Option<(u64, Vec<u8>)>; 2],
}

/// What a device is told about a collection.
#[derive(Default)]
pub(crate) struct Update {
    pub(crate) version: u64,
    /// A blob reference.
    pub(crate) snapshot: Option<Vec<u8>>,
    pub(crate) patches: Vec<Vec<u8>>,
}

impl Collection {
    /// A collection whose early patches are no longer kept.
    pub(super) fn with_records(mutations: &[SyncdMutation]) -> Result<Self, PhoneError> {
        let mut collection = Self::default();
        collection.apply(mutations)?;
        // As many versions as records: most changes of an address book concern one contact.
        collection.base = mutations.len() as u64;
        collection.state.version = collection.base;
        Ok(collection)
    }

    pub(super) fn version(&self) -> u64 {
        self.state.version
    }

    pub(super) fn has(&self, index_mac: &[u8]) -> bool {
        self.records.contains_key(index_mac)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (&Vec<u8>, &SyncdRecord)> {
        self.records.iter()
    }

    /// Whether a device that has `since` can be brought up to date by patches.
    pub(super) fn reaches(&self, since: u64) -> bool {
        since >= self.base
    }

    /// Every patch after `since`.
    pub(super) fn after(&self, since: u64) -> Update {
        let known = usize::try_from(since.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let patches = self.patches.iter().skip(known).cloned().collect();
        Update { version: self.version(), snapshot: None, patches }
    }

    /// Adds a device's patch made on top of `base`; `None` when another one came first (the client rebases and tries again).
    pub(super) fn push(&mut self, base: u64, patch: &[u8]) -> Result<Option<u64>, PhoneError> {
        if base != self.version() {
            return Ok(None);
        }
        let mut patch =
            SyncdPatch::decode_from_slice(patch).map_err(|error| PhoneError::Patch(error.to_string()))?;
        self.apply(&patch.mutations)?;
        self.state.version += 1;
        patch.version = MessageField::some(SyncdVersion { version: Some(self.version()) });
        self.patches.push(patch.encode_to_vec());
        Ok(Some(self.version()))
    }

    /// Adds a patch of the phone's own.
    pub(super) fn write(
        &mut self,
        name: &str,
        mutations: Vec<SyncdMutation>,
        means: &mut Means<'_>,
    ) -> Result<(), PhoneError> {
        self.apply(&mutations)?;
        self.state.version += 1;
        let keys = means.key.expanded();
        let mut patch = SyncdPatch {
            version: MessageField::some(SyncdVersion { version: Some(self.version()) }),
            mutations,
            snapshot_mac: Some(self.state.generate_snapshot_mac(name, &keys.snapshot_mac)),
            key_id: key_id(means.key),
            ..SyncdPatch::default()
        };
        patch.patch_mac = Some(generate_patch_mac(&patch, name, &keys.patch_mac, self.version()));
        if patch.mutations.len() > INLINE {
            let mutations = SyncdMutations { mutations: std::mem::take(&mut patch.mutations) };
            let reference = means.blobs.keep(means.number, &mutations.encode_to_vec())?;
            patch.external_mutations = MessageField::some(reference);
        }
        self.patches.push(patch.encode_to_vec());
        Ok(())
    }

    /// A reference to the whole collection as it stands; with `wrong` its MAC does not hold.
    pub(super) fn snapshot(
        &mut self,
        name: &str,
        wrong: bool,
        means: &mut Means<'_>,
    ) -> Result<Vec<u8>, PhoneError> {
        let version = self.version();
        let [right, spoilt] = &self.snapshots;
        if let Some((at, reference)) = if wrong { spoilt } else { right }
            && *at == version
        {
            return Ok(reference.clone());
        }
        let reference = self.make_snapshot(name, wrong, means)?.encode_to_vec();
        let [right, spoilt] = &mut self.snapshots;
        *(if wrong { spoilt } else { right }) = Some((version, reference.clone()));
        Ok(reference)
    }

    fn make_snapshot(
        &self,
        name: &str,
        wrong: bool,
        means: &mut Means<'_>,
    ) -> Result<ExternalBlobReference, PhoneError> {
        let mut mac = self.state.generate_snapshot_mac(name, &means.key.expanded().snapshot_mac);
        if let Some(first) = mac.first_mut().filter(|_| wrong) {
            *first ^= 1;
        }
        let snapshot = SyncdSnapshot {
            version: MessageField::some(SyncdVersion { version: Some(self.version()) }),
            records: self.records.values().cloned().collect(),
            mac: Some(mac),
            key_id: key_id(means.key),
        };
        means.blobs.keep(means.number, &snapshot.encode_to_vec())
    }

    /// Brings records and hash up to date. What is removed goes first, so that an entry may be removed and set anew at once.
    fn apply(&mut self, mutations: &[SyncdMutation]) -> Result<(), PhoneError> {
        let records = &self.records;
        let (_, hashed) =
            self.state.update_hash(mutations, |index, _| Ok(records.get(index).and_then(value_mac)));
        hashed.map_err(|error| PhoneError::Patch(error.to_string()))?;
        let removes =
            |mutation: &&SyncdMutation| mutation.operation.is_some_and(|it| it == SyncdOperation::REMOVE);
        for mutation in mutations.iter().filter(removes) {
            self.records.remove(&index_mac(mutation));
        }
        for mutation in mutations.iter().filter(|mutation| !removes(mutation)) {
            if let Some(record) = mutation.record.as_option() {
                self.records.insert(index_mac(mutation), record.clone());
            }
        }
        Ok(())
    }
}

fn key_id(key: &SyncKey) -> MessageField<KeyId> {
    MessageField::some(KeyId { id: Some(key.id().to_vec()) })
}

fn index_mac(mutation: &SyncdMutation) -> Vec<u8> {
    let index = mutation.record.as_option().and_then(|record| record.index.as_option());
    index.and_then(|index| index.blob.clone()).unwrap_or_default()
}

/// The last 32 bytes of a value are its MAC, which is what the hash adds up.
fn value_mac(record: &SyncdRecord) -> Option<Vec<u8>> {
    let blob = record.value.as_option()?.blob.as_deref()?;
    blob.last_chunk::<32>().map(|mac| mac.to_vec())
}
