//! The port under [`DeviceStorage`](super::DeviceStorage): rows of bytes, by session, table and key.
//!
//! Knows next to nothing of WhatsApp. An engine keeps what it is given and checks the fence; `memory`, `sqlite` and
//! `redis` are three. Values are private keys and ratchets: an engine never logs them, and no type here shows them in
//! `Debug`.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use crate::id::SessionId;
use crate::storage::StorageError;
use crate::whatsapp::version::StoredVersion;

/// The identity of a writer: the owner of `session` in `epoch`. A greater epoch is a later owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    /// The session of the device.
    pub session: SessionId,
    /// The epoch of the owner; at most `i64::MAX`.
    pub epoch: u64,
}

/// A key within a table: any bytes. `key.rs` says how they are made.
pub(crate) type Key = Vec<u8>;

/// The lock that a commit holds, passed in with it. The engine drops it only when the commit has succeeded or failed,
/// even if the caller has dropped the call by then.
pub(crate) type CommitLock = OwnedMutexGuard<()>;

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident = $name:literal,)*) => {
        /// The tables. Their names are part of the stored data and must not change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Table { $($(#[$doc])* $table,)* }

        impl Table {
            /// Every table.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$table,)*];

            /// The name in stored data.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$table => $name,)* }
            }
        }
    };
}

tables! {
    /// The device itself with its private keys; one row.
    Device = "device",
    /// The last row written, where the library asks for that; one row per question.
    Last = "last",
    /// Address → identity key of another device.
    Identity = "identity",
    /// Address → Signal session.
    Session = "session",
    /// Id → one-time pre-key.
    PreKey = "prekey",
    /// Id → signed pre-key.
    SignedPreKey = "signed",
    /// Address → sender key of a group.
    SenderKey = "sender",
    /// Key id → app-state key.
    SyncKey = "synckey",
    /// Collection → app-state version.
    SyncVersion = "syncver",
    /// (Collection, index MAC) → value MAC.
    SyncMac = "syncmac",
    /// (Group, device) → whether the device holds our sender key.
    Holder = "holder",
    /// LID → mapping.
    Lid = "lid",
    /// Phone number → LID.
    Phone = "phone",
    /// (Address, message id) → base key.
    BaseKey = "basekey",
    /// User → its devices.
    Devices = "devices",
    /// Group → what the library stores about it.
    Group = "group",
    /// Contact → privacy token.
    Token = "token",
    /// (Chat, message id) → message, for a retry.
    Sent = "sent",
    /// (Chat, sender, message id) → message being taken in.
    Pending = "pending",
    /// (Chat, sender, message id) → secret of the message.
    Secret = "secret",
}

/// One change of a commit. It has no `Debug`, because a value is a secret.
#[derive(Clone)]
pub(crate) enum Change {
    /// The key has this value afterwards.
    Put(Table, Key, Bytes),
    /// The key is gone afterwards; it need not have been there.
    Delete(Table, Key),
    /// All keys that begin with these bytes are gone afterwards; none given: the whole table.
    Clear(Table, Key),
}

/// Why an engine did not carry out a call. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// The session has a later owner, or was wiped: stop the client, do not try again.
    #[error("the session is no longer ours to write")]
    Fenced,
    /// See [`StorageError`].
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The store of the rows.
///
/// Changes that `commit` has answered with Ok are as durable as the engine is, and visible to every later `get` and
/// `scan`. The changes of a commit are made in order, all or none.
#[async_trait]
pub(crate) trait Engine: Send + Sync + 'static {
    /// Makes `fence` the only writer that may commit. Repeating a claim is allowed. It is refused if a greater epoch
    /// has claimed.
    async fn claim(&self, fence: &Fence) -> Result<(), EngineError>;

    /// One answer per key, in the order of the keys.
    async fn get(
        &self,
        session: &SessionId,
        table: Table,
        keys: Vec<Key>,
    ) -> Result<Vec<Option<Bytes>>, EngineError>;

    /// All rows of the table whose key begins with `prefix`, in no order.
    async fn scan(
        &self,
        session: &SessionId,
        table: Table,
        prefix: Key,
    ) -> Result<Vec<(Key, Bytes)>, EngineError>;

    /// Makes all changes, if `fence` made the last claim.
    async fn commit(&self, fence: &Fence, changes: Vec<Change>, lock: CommitLock) -> Result<(), EngineError>;

    /// Deletes every row of the session and its claim, regardless of its owner: after a logout, or for a session that
    /// is gone. A storage still open on it is refused from then on, until somebody claims again. After an
    /// error, call it again.
    async fn wipe(&self, session: &SessionId) -> Result<(), EngineError>;

    /// Every session that was claimed and not wiped, in no order. Those without a record are orphans.
    async fn sessions(&self) -> Result<Vec<SessionId>, EngineError>;

    /// Notes that a row of a session cannot be read, or that it can.
    fn tell(&self, session: &SessionId, table: Table, damaged: Option<&'static str>);

    /// The newest stored version of WhatsApp Web, and the time of the last look-up. It belongs to the deployment, not
    /// to a session.
    async fn version(&self) -> Result<Option<StoredVersion>, EngineError>;

    /// Stores a version and a time, each unless a greater one is stored.
    async fn keep_version(&self, found: StoredVersion) -> Result<(), EngineError>;
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn no_two_tables_share_a_name() {
        let names: std::collections::HashSet<_> = Table::ALL.iter().map(|table| table.name()).collect();
        assert_eq!(names.len(), Table::ALL.len());
    }
}
