//! Whether something that is not in Redis was never there: its data may be lost, and about to be written again.
//!
//! `keeper` notes which data answers; `records` asks before it says that there is no such session.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::{ConnectionState, Redis, Script, Server, StorageError};

static LOST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lost.lua")));

/// Which data this process has seen last.
pub(super) struct Seen(Mutex<Data>);

struct Data {
    word: String,
    /// When it answered for the first time after other data, another server, or none.
    since: Option<Instant>,
}

impl Redis {
    /// Whether this data took the place of other data less than `grace` ago: whoever has written that may be about to write
    /// it again.
    ///
    /// # Errors
    /// See [`query`](Self::query).
    pub async fn has_lost_data(&self, grace: Duration) -> Result<bool, StorageError> {
        // In this order: whoever sees other data later has left the mark by then.
        let known = self.0.seen.word();
        let prefix = &self.0.prefix;
        let lost = self.script(&LOST).key(word_key(prefix)).key(lost_key(prefix));
        let (word, ago): (String, i64) = lost.run().await?;
        let ago = u64::try_from(ago).ok().map(Duration::from_millis);
        Ok(word != known || ago.is_some_and(|ago| ago < grace))
    }

    /// Whether something that was not found now was never here, or is gone for good. Not while Redis has been this Redis for
    /// less than `grace`: the end of its data may be lost, and about to be written again.
    ///
    /// # Errors
    /// See [`query`](Self::query).
    pub async fn knows_all(&self, grace: Duration) -> Result<bool, StorageError> {
        let lost = self.has_lost_data(grace).await?;
        Ok(!lost && self.0.seen.data().since.is_none_or(|since| since.elapsed() >= grace))
    }
}

impl Seen {
    /// At the start of this process.
    pub(super) fn of(server: &Server) -> Self {
        Self(Mutex::new(Data { word: server.data.clone(), since: None }))
    }

    pub(super) fn word(&self) -> String {
        self.data().word.clone()
    }

    /// The state is another one now.
    pub(super) fn note(&self, state: &ConnectionState) {
        if let ConnectionState::Up(server) = state {
            *self.data() = Data { word: server.data.clone(), since: Some(Instant::now()) };
        }
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.0.lock()
    }
}

/// Where the word that marks the data is.
pub(super) fn word_key(prefix: &str) -> String {
    format!("{prefix}{{data}}:word")
}

/// Where it stands when other data was lost.
pub(super) fn lost_key(prefix: &str) -> String {
    format!("{prefix}{{data}}:lost")
}
