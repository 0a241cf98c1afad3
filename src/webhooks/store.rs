//! Port: how far each receiver is, kept where the logs are, and which sessions somebody is to look at.

pub(super) mod redis;
pub(super) mod sqlite;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use async_trait::async_trait;

use crate::event::{Cursor, Time};
use crate::id::SessionId;
use crate::receiver::OwnReceiver;
use crate::storage::StorageError;

/// What stands in the list for a session: when somebody is to look. Who takes it off says which one was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Due(pub(crate) f64);

/// What is stored of a session.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The receiver that its record names.
    pub(crate) own: Option<OwnReceiver>,
    /// Where its log ends.
    pub(crate) last: Option<Cursor>,
    /// What is stored of each receiver, as it stands there.
    pub(crate) standings: HashMap<String, String>,
    /// Until when another replica sends to a receiver.
    pub(crate) claims: HashMap<String, Time>,
}

/// What receivers have had. After an Ok what was asked for is durable.
#[async_trait]
pub(crate) trait HookStore: Send + Sync {
    /// Since when a receiver of all sessions is known: now, where it was not.
    async fn known_since(&self, receiver: &str, now: Time) -> Result<Time, StorageError>;

    /// Some of the sessions that are due. Another call may have others.
    async fn due(&self, now: Time) -> Result<Vec<(SessionId, Due)>, StorageError>;

    /// Puts a session on the list: it is due now.
    async fn put(&self, session: &SessionId, now: Time) -> Result<(), StorageError>;

    /// Somebody has looked: the session is due again then, or never. Nothing happens where it was put on the list since.
    async fn settle(&self, session: &SessionId, seen: Due, next: Option<Time>) -> Result<(), StorageError>;

    /// A session, and how far its receivers are. `None` where there is no such session.
    async fn look(&self, session: &SessionId) -> Result<Option<Found>, StorageError>;

    /// Takes a receiver of a session for a while, and says what is stored of it. `None` while another replica has it, or
    /// where the session is gone.
    async fn claim(&self, session: &SessionId, receiver: &str) -> Result<Option<String>, StorageError>;

    /// Stores what was made of `before` and keeps the claim; false where something else is stored by now, or the claim
    /// was lost.
    async fn save(
        &self,
        session: &SessionId,
        receiver: &str,
        change: Change<'_>,
    ) -> Result<bool, StorageError>;

    /// Gives the claim back.
    async fn release(&self, session: &SessionId, receiver: &str) -> Result<(), StorageError>;
}

/// A change of what is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) before: &'a str,
    pub(crate) after: &'a str,
    /// Whether it is made by who has the claim; a person's wish needs none.
    pub(crate) claimed: bool,
}
