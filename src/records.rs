//! Port: the records of all sessions, and who owns which.
//!
//! A session that is *claimed* has a link task, or gets one at the next start; claimed sessions are what the limits count.

pub(crate) mod redis;
pub(crate) mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::event::{Assertion, Cursor, Time};
use crate::id::SessionId;
use crate::proxy::ProxyUrl;
use crate::receiver::OwnReceiver;
use crate::storage::StorageError;
pub(crate) use crate::storage::damage::Damage;
pub(crate) use crate::storage::health::Judgement;

/// How long an `Idempotency-Key` is remembered, unless its session is deleted or cleared away before.
pub(crate) const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// What is known of a session beside its log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    /// Its id.
    pub session: SessionId,
    /// When it was created.
    pub created: Time,
    /// What the phone lists the device as; the deployment's name when `None`.
    pub device_name: Option<String>,
    /// Its own way to WhatsApp; the deployment's when `None`.
    pub proxy: Option<ProxyUrl>,
    /// Where its events are sent besides the receivers of all sessions.
    pub webhook: Option<OwnReceiver>,
    /// The embedder's own notes, given back as they came.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// The last ownership.
    pub epoch: u64,
    /// Whether it has a link task.
    pub claimed: bool,
    /// When it was deleted; its stream and status stay readable for a while.
    pub deleted: Option<Time>,
}

/// How many claimed sessions there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionLimits {
    /// In all.
    pub all: u32,
    /// Of one user.
    pub user: u32,
}

/// A request that may come twice and shall be done once.
#[derive(Clone, Debug)]
pub(crate) struct IdempotencyKey {
    /// The client's `Idempotency-Key`.
    pub key: String,
    /// SHA-256 of what it asked for.
    pub body: [u8; 32],
}

/// What became of a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    /// A new session, claimed with this epoch.
    New(u64),
    /// The same request was done before, and made this session, which is still there.
    Existing(SessionId),
}

/// The records, and the ownership of each session. After an Ok what was asked for is durable.
#[async_trait]
pub(crate) trait Records: Send + Sync {
    /// Stores and claims a new session, within the limits.
    async fn create(
        &self,
        record: Record,
        limits: SessionLimits,
        once: Option<IdempotencyKey>,
    ) -> Result<Created, RecordsError>;

    /// Takes the session for a start of its link task: a new epoch. The larger of the last one plus one and the Unix
    /// time in milliseconds, so that event ids rise even when a store has lost its end. The limits hold for a session
    /// that was not claimed.
    async fn claim(&self, session: &SessionId, limits: SessionLimits) -> Result<u64, RecordsError>;

    /// The session needs no link task any more. Nothing happens where it was claimed again since this epoch.
    async fn release(&self, session: &SessionId, epoch: u64) -> Result<(), RecordsError>;

    /// Marks a session as deleted, and claims it: it needs a link task until its device is logged out, also after a crash
    /// that comes before that task begins. Nobody claims it from then on but for this.
    async fn delete(&self, session: &SessionId, at: Time) -> Result<(), RecordsError>;

    /// Forgets a session.
    async fn remove(&self, session: &SessionId) -> Result<(), RecordsError>;

    /// Every record.
    async fn all(&self) -> Result<Vec<Record>, RecordsError>;

    /// Forgets the idempotency keys of more than [`KEY_LIFE`] ago.
    async fn forget_keys(&self) -> Result<(), RecordsError>;

    /// The secret of the deployment that signs stream tokens: the one that is stored, or this one from now on.
    async fn token_secret(&self, new: &str) -> Result<String, RecordsError>;

    /// Whether something can be stored now: stores something. Where that works, [`Records::health`] has no failed write any more.
    async fn check(&self) -> Result<(), RecordsError>;

    /// How the store is, now and from now on.
    fn health(&self) -> watch::Receiver<Judgement>;
}

/// How long a wish stands, be it for a restart, a pairing code or a passkey step: its caller has stopped waiting by then.
pub(crate) const REQUEST_LIFE: Duration = Duration::from_secs(20);

/// A session, as the deployment knows it.
#[derive(Clone, Debug)]
pub(crate) struct SessionInfo {
    /// Its record.
    pub record: Record,
    /// The replica whose lease lasts.
    pub owner: Option<String>,
    /// The same, or one that did not renew its lease.
    pub last_owner: Option<String>,
    /// What its owner is to do, and when that was asked (Unix ms, the store's clock): an older one is void.
    pub request: Option<(i64, OwnerRequest)>,
    /// Where its log ends.
    pub last: Option<Cursor>,
}

/// What a session's owner is to do. Deletion is none: it stands in the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "wish")]
pub(crate) enum OwnerRequest {
    /// A fresh start of the link task. Done as soon as the session has a greater epoch.
    Restart {
        /// The ownership that it is to end.
        epoch: u64,
    },
    /// A pairing code, which comes as an event.
    #[serde(rename_all = "camelCase")]
    Code {
        /// Digits only.
        phone_number: String,
    },
    /// The answer of a passkey.
    Passkey(Assertion),
    /// A person has compared the code of a passkey step.
    ConfirmPasskey,
}

/// What was asked of the records was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RecordsError {
    /// There is no such session.
    #[error("no such session")]
    Unknown,
    /// One session more than this user may have.
    #[error("this user has {0} sessions already")]
    UserLimit(u32),
    /// One session more than there may be.
    #[error("there are {0} sessions already")]
    Limit(u32),
    /// The key was used for another request.
    #[error("this Idempotency-Key was used with another body")]
    KeyReused,
    /// The same request is under way: ask again in a moment.
    #[error("the first request with this Idempotency-Key is still running")]
    KeyRunning,
    /// What was to be stored would come out of the store as something else, or not at all.
    #[error("the metadata cannot be stored as it is")]
    Unreadable,
    /// Another replica owns the session: leave it to that one.
    #[error("another replica owns the session")]
    OwnedElsewhere,
    /// See [`StorageError`].
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A stored epoch; `None` where it can be none.
fn epoch(stored: i64) -> Option<u64> {
    u64::try_from(stored).ok().filter(|epoch| *epoch <= Cursor::LAST_EPOCH)
}

/// A stored time, in Unix milliseconds; `None` where it can be none.
fn moment(stored: i64) -> Option<Time> {
    epoch(stored).map(|_| Time::from_millis(stored))
}

impl Record {
    /// Looks whether the metadata is read back from the store as it is: a record that cannot be read would be
    /// damage of this server's own making. Both engines write it as JSON and read it with the same reader as here.
    fn check_reads_back(&self) -> Result<(), RecordsError> {
        let Some(metadata) = &self.metadata else { return Ok(()) };
        let read = |text: String| serde_json::from_str::<serde_json::Map<_, _>>(&text).ok();
        let same = serde_json::to_string(metadata).ok().and_then(read).is_some_and(|read| read == *metadata);
        if same { Ok(()) } else { Err(RecordsError::Unreadable) }
    }
}

impl RecordsError {
    /// Nobody can tell just now.
    pub fn away() -> Self {
        Self::Storage(StorageError::Away)
    }

    /// Whether the store cannot be used at the moment, and will be able to be without anybody's doing.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Storage(error) if error.passes())
    }

    /// What is stored of the session cannot be read.
    pub fn damaged() -> Self {
        Self::Storage(StorageError::Corrupt)
    }

    /// Whether what is stored of the session is damaged: no waiting mends it.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_damage())
    }

    /// A failure beside the records that the caller treats like one of its storage.
    pub fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Storage(StorageError::failed(cause))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(metadata: &Value) -> Result<(), RecordsError> {
        let session = SessionId::new(&"ada".parse().unwrap());
        let metadata = metadata.as_object().cloned();
        let record = Record {
            session,
            created: Time::now(),
            device_name: None,
            proxy: None,
            webhook: None,
            metadata,
            epoch: 1,
            claimed: true,
            deleted: None,
        };
        record.check_reads_back()
    }

    #[test]
    fn what_would_not_be_read_back_is_not_stored() {
        check(&json!({ "a": [1, "ü", 0.1, null, { "b": u64::MAX, "c": 5e-324 }] })).unwrap();
        let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
        for bad in [
            json!({ "a": deep }),
            json!({ "a": { "$serde_json::private::RawValue": "[" } }),
            json!({ "a": { "$serde_json::private::RawValue": "1" } }),
        ] {
            assert!(matches!(check(&bad), Err(RecordsError::Unreadable)), "{bad}");
        }
    }
}
