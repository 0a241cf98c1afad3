//! The key under which an account's app state is encrypted, and what encrypting with it needs besides. `sync` and
//! `collection` encrypt, and the phone shares it with its devices.
//!
//! Source: `wacore-appstate` 0.7.0 (`encode.rs`).

use std::sync::Arc;

use buffa::MessageField;
use rand::RngExt as _;
use wacore::appstate::{ExpandedAppStateKeys, encode_record, expand_app_state_keys};
use waproto::whatsapp::{
    Message, SyncdMutation,
    message::{
        AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId,
        AppStateSyncKeyShare, ProtocolMessage, protocol_message,
    },
    syncd_mutation::SyncdOperation,
};

use super::blobs::Blobs;
use super::clock::unix_millis;
use super::history::Entry;

/// The one app state key of an account.
#[derive(Clone)]
pub(crate) struct SyncKey {
    id: [u8; 6],
    data: [u8; 32],
    expanded: Arc<ExpandedAppStateKeys>,
}

/// What a collection needs to encrypt.
pub(super) struct Means<'a> {
    pub(super) number: &'a str,
    pub(super) key: &'a SyncKey,
    pub(super) blobs: &'a mut Blobs,
}

impl SyncKey {
    pub(super) fn generate() -> Self {
        let mut rng = rand::rng();
        let data = rng.random();
        Self { id: rng.random(), data, expanded: Arc::new(expand_app_state_keys(&data)) }
    }

    pub(super) fn id(&self) -> &[u8] {
        &self.id
    }

    pub(super) fn expanded(&self) -> &ExpandedAppStateKeys {
        &self.expanded
    }

    pub(super) fn seal(&self, entry: &Entry) -> SyncdMutation {
        self.seal_as(SyncdOperation::SET, entry)
    }

    pub(super) fn seal_as(&self, operation: SyncdOperation, entry: &Entry) -> SyncdMutation {
        let iv: [u8; 16] = rand::rng().random();
        let (index, keys) = (entry.index.as_bytes(), self.expanded());
        encode_record(operation, index, &entry.value, keys, &self.id, &iv, entry.version).0
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
}
