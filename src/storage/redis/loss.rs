//! Tells data that was never in Redis from data that Redis has lost, which its owners may be about to write again.
//!
//! `keeper` notes which data answers; `records` asks before it reports that a session does not exist.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::{ConnectionState, Redis, Script, Server, StorageError};

static LOST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lost.lua")));

/// The data that this process has seen last.
pub(super) struct Seen(Mutex<Data>);

struct Data {
    word: String,
    /// When it first answered after other data, another server, or an outage.
    since: Option<Instant>,
}

impl Redis {
    /// Whether this data replaced other data less than `grace` ago. The owners of the old data may be about to write it
    /// again.
    ///
    /// # Errors
    /// See [`query`](Self::query).
    pub(crate) async fn has_lost_data(&self, grace: Duration) -> Result<bool, StorageError> {
        // The order matters: a process that noticed the loss has left the mark by the time of the second read.
        let known = self.0.seen.word();
        let lost = self.script(&LOST).key(self.keys().word()).key(self.keys().lost());
        let (word, ago): (String, i64) = lost.run().await?;
        let ago = u64::try_from(ago).ok().map(Duration::from_millis);
        Ok(word != known || ago.is_some_and(|ago| ago < grace))
    }

    /// Whether something that was not found does not exist. That is not certain while this Redis has answered for less
    /// than `grace`, because its last writes may be lost and about to be written again.
    ///
    /// # Errors
    /// See [`query`](Self::query).
    pub(crate) async fn knows_all(&self, grace: Duration) -> Result<bool, StorageError> {
        let lost = self.has_lost_data(grace).await?;
        Ok(!lost && self.0.seen.data().since.is_none_or(|since| since.elapsed() >= grace))
    }
}

impl Seen {
    /// The state at the start of this process.
    pub(super) fn of(server: &Server) -> Self {
        Self(Mutex::new(Data { word: server.data.clone(), since: None }))
    }

    pub(super) fn word(&self) -> String {
        self.data().word.clone()
    }

    /// Notes a new state of the connection.
    pub(super) fn note(&self, state: &ConnectionState) {
        if let ConnectionState::Up(server) = state {
            *self.data() = Data { word: server.data.clone(), since: Some(Instant::now()) };
        }
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.0.lock()
    }
}
