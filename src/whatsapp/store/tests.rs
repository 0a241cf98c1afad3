//! The contract of the store: each behaviour of `contract.rs` against the library's own store and against
//! ours on every engine; then what only ours promises: fences, turns, wiping, bounds.

mod contract;
mod fence;

use std::sync::Arc;

use wacore::store::InMemoryBackend;

use super::memory::MemoryEngine;
use super::redis::RedisEngine;
use super::sqlite::{SCHEMA, SqliteEngine, VERSION_SCHEMA};
use super::{Change, CommitLock, DeviceStorage, Engine, EngineError, Fence, Key, Table};
use crate::event::Time;
use crate::id::SessionId;
use crate::storage::redis::Redis;
use crate::storage::redis::tests::{Cluster, Server};
use crate::storage::sqlite::tests::Folder;
use crate::storage::sqlite::{SchemaStep, Sqlite};
use crate::whatsapp::version::{StoredVersion, Version};

pub(super) fn session() -> SessionId {
    SessionId::new(&"ada".parse().unwrap())
}

pub(super) fn fence(session: &SessionId, epoch: u64) -> Fence {
    Fence { session: session.clone(), epoch }
}

/// An engine, and the resources that must outlive it.
pub(super) struct Rig {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) sqlite: Option<(Sqlite, Folder)>,
    /// The process of the server, which ends with this value.
    redis_server: Option<Server>,
}

impl Rig {
    pub(super) fn memory() -> Self {
        Self { engine: Arc::new(MemoryEngine::new()), sqlite: None, redis_server: None }
    }

    pub(super) fn sqlite() -> Self {
        let folder = Folder::new();
        let steps = [(1, SCHEMA), (2, VERSION_SCHEMA)].map(|(version, sql)| SchemaStep::needed(version, sql));
        let sqlite = Sqlite::open(&folder.path().join("db"), &steps).unwrap();
        let engine = Arc::new(SqliteEngine::new(sqlite.clone()));
        Self { engine, sqlite: Some((sqlite, folder)), redis_server: None }
    }

    pub(super) async fn redis() -> Self {
        let server = Server::start();
        let engine = Arc::new(Leased::new(server.connect().await));
        Self { engine, sqlite: None, redis_server: Some(server) }
    }

    /// Whether a commit takes longer than a call: another thread or another process makes it.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.sqlite.is_some() || self.redis_server.is_some()
    }

    pub(super) fn pause_redis(&self, pauses: bool) {
        if let Some(server) = &self.redis_server {
            server.signal(if pauses { "-STOP" } else { "-CONT" });
        }
    }

    /// A storage beside another one, so that a missing "of this session" shows.
    pub(super) async fn storage(&self) -> DeviceStorage {
        use wacore::store::traits::SignalStore;
        let other = DeviceStorage::open(Arc::clone(&self.engine), fence(&session(), 1)).await.unwrap();
        other.put_session("a@s", b"of another session").await.unwrap();
        other.store_prekey(4_000_000, b"of another session", true).await.unwrap();
        DeviceStorage::open(Arc::clone(&self.engine), fence(&session(), 1)).await.unwrap()
    }
}

/// The Redis engine checks a lease that `records` has written: here a claim of the device writes it first, where the
/// records would give it.
pub(super) struct Leased {
    redis: Redis,
    engine: RedisEngine,
}

impl Leased {
    pub(super) fn new(redis: Redis) -> Self {
        Self { engine: RedisEngine::new(redis.clone(), "me"), redis }
    }
}

#[async_trait::async_trait]
impl Engine for Leased {
    async fn claim(&self, fence: &Fence) -> Result<(), EngineError> {
        let key = self.redis.keys().session(&fence.session);
        let held: Option<u64> = self.redis.query(::redis::cmd("HGET").arg(&key).arg("epoch")).await?;
        if held.is_none_or(|held| held < fence.epoch) {
            let mut lease = ::redis::cmd("HSET");
            lease.arg(&key).arg("owner").arg("me").arg("epoch").arg(fence.epoch);
            self.redis.query::<()>(&lease).await?;
        }
        self.engine.claim(fence).await
    }

    async fn get(
        &self,
        session: &SessionId,
        table: Table,
        keys: Vec<Key>,
    ) -> Result<Vec<Option<bytes::Bytes>>, EngineError> {
        self.engine.get(session, table, keys).await
    }

    async fn scan(
        &self,
        session: &SessionId,
        table: Table,
        prefix: Key,
    ) -> Result<Vec<(Key, bytes::Bytes)>, EngineError> {
        self.engine.scan(session, table, prefix).await
    }

    async fn commit(&self, fence: &Fence, changes: Vec<Change>, lock: CommitLock) -> Result<(), EngineError> {
        self.engine.commit(fence, changes, lock).await
    }

    async fn wipe(&self, session: &SessionId) -> Result<(), EngineError> {
        self.engine.wipe(session).await
    }

    async fn sessions(&self) -> Result<Vec<SessionId>, EngineError> {
        self.engine.sessions().await
    }

    fn tell(&self, session: &SessionId, table: Table, damaged: Option<&'static str>) {
        self.engine.tell(session, table, damaged);
    }

    async fn version(&self) -> Result<Option<StoredVersion>, EngineError> {
        self.engine.version().await
    }

    async fn keep_version(&self, found: StoredVersion) -> Result<(), EngineError> {
        self.engine.keep_version(found).await
    }
}

macro_rules! contract {
    ($($behaviour:ident,)*) => {
        mod library {
            $(#[tokio::test] async fn $behaviour() {
                super::contract::$behaviour(&super::InMemoryBackend::new()).await;
            })*
        }
        mod memory {
            $(#[tokio::test] async fn $behaviour() {
                super::contract::$behaviour(&super::Rig::memory().storage().await).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $behaviour() {
                let rig = super::Rig::sqlite();
                super::contract::$behaviour(&rig.storage().await).await;
            })*
        }
        mod redis {
            $(#[tokio::test] async fn $behaviour() {
                let rig = super::Rig::redis().await;
                super::contract::$behaviour(&rig.storage().await).await;
            })*
        }
    };
}

contract! {
    identities, sessions, signal_state_of_a_user, prekeys, prekeys_in_one_batch, marking_never_resurrects,
    signed_prekeys, sender_keys, sync_keys, versions, mutation_macs, sender_key_devices, lid_mappings,
    lids_in_one_batch, base_keys, device_lists, group_metadata, tokens, token_halves, tokens_expire,
    sent_messages, pending_inbound, message_secrets, message_secrets_merge, message_secrets_expire,
    the_device,
}

// Not on the disk: 6,000 commits one after the other are 20 seconds of fsync, and the bound is none of the
// engine's.
#[tokio::test]
async fn sent_messages_are_bounded() {
    contract::sent_messages_are_bounded(&InMemoryBackend::new()).await;
    contract::sent_messages_are_bounded(&Rig::memory().storage().await).await;
}

macro_rules! on_each_engine {
    ($($behaviour:ident,)*) => {
        mod fence_memory {
            $(#[tokio::test] async fn $behaviour() { super::fence::$behaviour(super::Rig::memory()).await; })*
        }
        mod fence_sqlite {
            $(#[tokio::test] async fn $behaviour() { super::fence::$behaviour(super::Rig::sqlite()).await; })*
        }
        mod fence_redis {
            $(#[tokio::test] async fn $behaviour() {
                super::fence::$behaviour(super::Rig::redis().await).await;
            })*
        }
    };
}

on_each_engine! {
    a_later_owner_fences_the_earlier, an_earlier_owner_cannot_claim, a_retired_storage_writes_nothing,
    a_wipe_takes_all_and_only_its_session, a_commit_is_made_in_order, prefixes_are_exact,
    everything_is_there_for_the_next_owner, a_number_that_moved_on_stays, one_of_many_takers_gets_a_message,
    concurrent_halves_of_a_token_both_stay, a_dropped_call_keeps_its_turn, keys_are_not_in_debug,
}

#[tokio::test]
async fn the_newest_version_and_the_latest_time_are_kept() {
    let memory: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let (sqlite, redis) = (Rig::sqlite(), Rig::redis().await);
    for engine in [&memory, &sqlite.engine, &redis.engine] {
        assert_eq!(engine.version().await.unwrap(), None);
        let found =
            |revision, millis| StoredVersion { version: Version(revision), at: Time::from_millis(millis) };
        for (revision, millis) in [(1_042_742_319, 1000), (u32::MAX, 999), (7, 1_763_985_600_000)] {
            engine.keep_version(found(revision, millis)).await.unwrap();
        }
        assert_eq!(engine.version().await.unwrap(), Some(found(u32::MAX, 1_763_985_600_000)));
    }
}

#[tokio::test]
async fn on_a_cluster_the_keys_of_a_session_are_together_and_gone_after_a_wipe() {
    let cluster = Cluster::start();
    let engine: Arc<dyn Engine> = Arc::new(Leased::new(cluster.connect().await));
    let sessions: Vec<_> = (0..6).map(|_| session()).collect();
    for session in &sessions {
        let storage = DeviceStorage::open(Arc::clone(&engine), fence(session, 1)).await.unwrap();
        contract::tokens(&storage).await;
        contract::mutation_macs(&storage).await;
    }
    assert_eq!(engine.sessions().await.unwrap().len(), 6);
    for session in &sessions {
        engine.wipe(session).await.unwrap();
    }
    assert!(engine.sessions().await.unwrap().is_empty());
    let left: Vec<_> = cluster.nodes.iter().flat_map(Server::keys).collect();
    assert!(left.iter().all(|key| key.ends_with('}') || key.contains("{data}")), "leases only: {left:?}");
}

/// A commit that Redis carries out after a later one changes nothing.
#[tokio::test]
async fn a_late_commit_is_refused() {
    let rig = Rig::redis().await;
    let server = rig.redis_server.as_ref().unwrap();
    let session = session();
    rig.engine.claim(&fence(&session, 1)).await.unwrap();
    let put = |value: &'static str| vec![Change::Put(Table::Group, b"k".to_vec(), bytes::Bytes::from(value))];
    let lock = Arc::new(tokio::sync::Mutex::new(()));
    rig.engine.commit(&fence(&session, 1), put("new"), lock.clone().lock_owned().await).await.unwrap();
    // As if a later commit, number 2^53, had been carried out.
    server.tell(&["HSET", &format!("test:{{{session}}}"), "commit", "9007199254740992"]);
    let late = rig.engine.commit(&fence(&session, 1), put("old"), lock.clone().lock_owned().await).await;
    assert!(matches!(late, Err(EngineError::Storage(crate::storage::StorageError::Away))), "{late:?}");
    let found = rig.engine.get(&session, Table::Group, vec![b"k".to_vec()]).await.unwrap();
    assert_eq!(found, [Some(bytes::Bytes::from("new"))]);
}

/// The lease alone fences: another replica's claim of the session, before it has opened the device.
#[tokio::test]
async fn another_owner_fences_at_once_and_lost_data_does_not() {
    let rig = Rig::redis().await;
    let server = rig.redis_server.as_ref().unwrap();
    let session = session();
    let key = format!("test:{{{session}}}");
    let lock = Arc::new(tokio::sync::Mutex::new(()));
    let put = || vec![Change::Put(Table::Group, b"k".to_vec(), bytes::Bytes::from("v"))];
    let commit =
        async || rig.engine.commit(&fence(&session, 1), put(), lock.clone().lock_owned().await).await;
    rig.engine.claim(&fence(&session, 1)).await.unwrap();
    commit().await.unwrap();
    server.tell(&["HSET", &key, "owner", "another"]);
    assert!(matches!(commit().await, Err(EngineError::Fenced)), "the same epoch, another owner");
    server.tell(&["HSET", &key, "owner", "me", "epoch", "2"]);
    assert!(matches!(commit().await, Err(EngineError::Fenced)), "a later epoch");
    server.tell(&["DEL", &key]);
    assert!(matches!(commit().await, Err(EngineError::Storage(_))), "not a reason to stop the client");
    rig.engine.claim(&fence(&session, 1)).await.unwrap();
    commit().await.unwrap();
}

/// Every method of the five traits. `contract.rs` calls each.
const METHODS: [&str; 82] = [
    // SignalStore, 25
    "put_identity",
    "put_identities_batch",
    "load_identity",
    "delete_identity",
    "get_session",
    "put_session",
    "put_sessions_batch",
    "delete_session",
    "has_session",
    "has_signal_state_for_user",
    "store_prekey",
    "store_prekeys_batch",
    "load_prekey",
    "load_prekeys_batch",
    "mark_prekeys_uploaded",
    "remove_prekey",
    "get_max_prekey_id",
    "store_signed_prekey",
    "load_signed_prekey",
    "load_all_signed_prekeys",
    "remove_signed_prekey",
    "put_sender_key",
    "put_sender_keys_batch",
    "get_sender_key",
    "delete_sender_key",
    // AppSyncStore, 10
    "get_sync_key",
    "set_sync_key",
    "get_version",
    "set_version",
    "put_mutation_macs",
    "get_mutation_mac",
    "get_mutation_macs",
    "delete_mutation_macs",
    "clear_mutation_macs",
    "get_latest_sync_key_id",
    // ProtocolStore, 36
    "get_sender_key_devices",
    "set_sender_key_status",
    "clear_sender_key_devices",
    "delete_sender_key_device_rows",
    "clear_all_sender_key_devices",
    "get_lid_mapping",
    "get_pn_mapping",
    "put_lid_mapping",
    "put_lid_mappings",
    "get_all_lid_mappings",
    "save_base_key",
    "has_same_base_key",
    "delete_base_key",
    "update_device_list",
    "update_device_lists",
    "get_devices",
    "delete_devices",
    "get_group_metadata",
    "put_group_metadata",
    "delete_group_metadata",
    "get_tc_token",
    "put_tc_token",
    "delete_tc_token",
    "get_all_tc_token_jids",
    "delete_expired_tc_tokens",
    "touch_tc_token_sender_timestamp",
    "store_received_tc_token",
    "store_sent_message",
    "take_sent_message",
    "delete_expired_sent_messages",
    "store_pending_inbound",
    "get_pending_inbound",
    "delete_pending_inbound",
    "delete_expired_pending_inbound",
    "store_pending_inbound_batch",
    "delete_pending_inbound_batch",
    // MsgSecretStore, 5
    "put_msg_secret",
    "put_msg_secrets",
    "get_msg_secret",
    "get_msg_secret_with_ts",
    "delete_expired_msg_secrets",
    // DeviceStore, 6
    "save",
    "load",
    "exists",
    "create",
    "snapshot_db",
    "resource_report",
];

/// A new default method of a later library version would not fail to build: the numbers and this list are
/// looked at when the version is raised.
#[test]
fn every_method_is_implemented_and_covered() {
    let contract = include_str!("tests/contract.rs");
    let ours = [
        include_str!("signal.rs"),
        include_str!("app_sync.rs"),
        include_str!("protocol.rs"),
        include_str!("msg_secret.rs"),
        include_str!("device.rs"),
    ];
    for method in METHODS {
        assert!(contract.contains(&format!(".{method}(")), "no contract test calls {method}");
        let defined = format!("    async fn {method}(");
        assert_eq!(ours.iter().map(|file| file.matches(&defined).count()).sum::<usize>(), 1, "{method}");
    }
}
