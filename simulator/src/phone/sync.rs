//! The app state of an account: the key share a fresh device needs, the first patch with the push name, and the patches
//! that devices add. Patches of devices are kept and handed on as they came; `server::iq` asks for them.
//!
//! Source: `wacore-appstate` 0.7.0 (`encode.rs`, `hash.rs`), whose functions do the work here.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use buffa::{Message as _, MessageField};
use rand::RngExt as _;
use wacore::appstate::hash::{HashState, generate_patch_mac};
use wacore::appstate::{encode_record, expand_app_state_keys};
use waproto::whatsapp::{
    KeyId, Message, SyncActionValue, SyncdPatch, SyncdVersion,
    message::{
        AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId,
        AppStateSyncKeyShare, ProtocolMessage, protocol_message,
    },
    sync_action_value::PushNameSetting,
    syncd_mutation::SyncdOperation,
};

use super::PhoneError;

/// The genesis patch is version 1 of its collection.
const GENESIS: u64 = 1;
const PUSH_NAME_INDEX: &[u8] = b"[\"setting_pushName\"]";

/// The patches of every collection; the number of patches is the collection's version.
#[derive(Default)]
pub(crate) struct Collections(BTreeMap<String, Vec<Vec<u8>>>);

/// What a device is told about a collection.
pub(crate) struct Update {
    pub(crate) version: u64,
    pub(crate) patches: Vec<Vec<u8>>,
}

impl Collections {
    /// Everything after `since`.
    pub(super) fn after(&self, collection: &str, since: u64) -> Update {
        let all = self.0.get(collection).map(Vec::as_slice).unwrap_or_default();
        let patches = all.iter().skip(usize::try_from(since).unwrap_or(usize::MAX)).cloned().collect();
        Update { version: all.len() as u64, patches }
    }

    /// Adds a patch made on top of `base`; `None` when another one came first (the client rebases and tries again).
    pub(super) fn push(
        &mut self,
        collection: &str,
        base: u64,
        patch: &[u8],
    ) -> Result<Option<u64>, PhoneError> {
        let all = self.0.entry(collection.to_owned()).or_default();
        let version = all.len() as u64;
        if base != version {
            return Ok(None);
        }
        let mut patch =
            SyncdPatch::decode_from_slice(patch).map_err(|error| PhoneError::Patch(error.to_string()))?;
        patch.version = MessageField::some(SyncdVersion { version: Some(version + 1) });
        all.push(patch.encode_to_vec());
        Ok(Some(version + 1))
    }

    pub(super) fn has(&self, collection: &str) -> bool {
        self.0.contains_key(collection)
    }

    pub(super) fn start(&mut self, collection: &str, genesis: Vec<u8>) {
        self.0.insert(collection.to_owned(), vec![genesis]);
    }

    pub(super) fn forget(&mut self, collection: &str) {
        self.0.remove(collection);
    }
}

/// The one app state key of an account.
pub(crate) struct SyncKey {
    id: [u8; 6],
    data: [u8; 32],
}

impl SyncKey {
    pub(crate) fn generate() -> Self {
        let mut rng = rand::rng();
        Self { id: rng.random(), data: rng.random() }
    }

    pub(super) fn share(&self, raw_id: u32) -> Message {
        let key = AppStateSyncKey {
            key_id: MessageField::some(AppStateSyncKeyId { key_id: Some(self.id.to_vec()) }),
            key_data: MessageField::some(AppStateSyncKeyData {
                key_data: Some(self.data.to_vec()),
                fingerprint: MessageField::some(AppStateSyncKeyFingerprint {
                    raw_id: Some(raw_id),
                    current_index: Some(0),
                    device_indexes: vec![0],
                }),
                timestamp: Some(unix_millis()),
            }),
        };
        Message {
            protocol_message: MessageField::some(ProtocolMessage {
                r#type: Some(protocol_message::Type::APP_STATE_SYNC_KEY_SHARE),
                app_state_sync_key_share: MessageField::some(AppStateSyncKeyShare { keys: vec![key] }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    pub(super) fn push_name_patch(&self, collection: &str, push_name: &str) -> Result<Vec<u8>, PhoneError> {
        let keys = expand_app_state_keys(&self.data);
        let value = SyncActionValue {
            push_name_setting: MessageField::some(PushNameSetting { name: Some(push_name.to_owned()) }),
            timestamp: Some(unix_millis()),
            ..Default::default()
        };
        let iv: [u8; 16] = rand::rng().random();
        let (mutation, _) =
            encode_record(SyncdOperation::SET, PUSH_NAME_INDEX, &value, &keys, &self.id, &iv, 1);
        let mut state = HashState { version: GENESIS, ..Default::default() };
        let (_, added) = state.update_hash(std::slice::from_ref(&mutation), |_, _| Ok(None));
        added.map_err(|error| PhoneError::Patch(error.to_string()))?;
        let mut patch = SyncdPatch {
            version: MessageField::some(SyncdVersion { version: Some(GENESIS) }),
            mutations: vec![mutation],
            snapshot_mac: Some(state.generate_snapshot_mac(collection, &keys.snapshot_mac)),
            key_id: MessageField::some(KeyId { id: Some(self.id.to_vec()) }),
            ..Default::default()
        };
        patch.patch_mac = Some(generate_patch_mac(&patch, collection, &keys.patch_mac, GENESIS));
        Ok(patch.encode_to_vec())
    }
}

fn unix_millis() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
