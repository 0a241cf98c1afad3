//! One judgement of a store: whether its last write and its last read succeeded, and since when not.
//!
//! The engines report what became of each call. A failed write stands until a probe ([`Health::stored`]) shows that
//! something can be stored again: an ordinary write that succeeds may have had nothing to store.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tracing::{info, warn};

use super::StorageError;

/// Shared by an engine and whoever asks how it is.
#[derive(Clone, Debug)]
pub struct Health(Arc<watch::Sender<Judgement>>);

/// How a store is.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Why nothing can be stored.
    pub writes: Option<Trouble>,
    /// Why nothing can be read.
    pub reads: Option<Trouble>,
    /// How often writes have begun to fail. Whoever was busy meanwhile knows by it that they did.
    pub outages: u64,
}

/// The last call of a kind failed.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Since when all of them have.
    pub since: SystemTime,
    /// What the last one said.
    pub error: StorageError,
}

impl Judgement {
    /// Why the store does not do its work; a write that fails is the worse of the two.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.writes.as_ref().or(self.reads.as_ref())
    }
}

impl Default for Health {
    /// Nothing has failed yet.
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Judgement::default())))
    }
}

impl Health {
    /// How the store is, now and from now on.
    pub fn watch(&self) -> watch::Receiver<Judgement> {
        self.0.subscribe()
    }

    /// Whether writes fail at the moment.
    pub fn is_failing(&self) -> bool {
        self.0.borrow().writes.is_some()
    }

    /// What became of a write. Its success says nothing: see above.
    pub(super) fn wrote<T>(&self, outcome: &Result<T, StorageError>) {
        if let Err(error) = outcome
            && error.is_of_the_store()
        {
            self.failed(error, |judgement| &mut judgement.writes, "the store takes no writes");
        }
    }

    /// What became of a read.
    pub(super) fn read<T>(&self, outcome: &Result<T, StorageError>) {
        match outcome {
            Ok(_) => self.mended(|judgement| &mut judgement.reads, "the store can be read again"),
            Err(error) if error.is_of_the_store() => {
                self.failed(error, |judgement| &mut judgement.reads, "the store cannot be read");
            }
            Err(_) => {}
        }
    }

    /// A probe has stored something, or a connection was found that takes writes.
    pub fn stored(&self) {
        self.mended(|judgement| &mut judgement.writes, "the store takes writes again");
    }

    fn failed(
        &self,
        error: &StorageError,
        kind: impl Fn(&mut Judgement) -> &mut Option<Trouble>,
        words: &'static str,
    ) {
        self.0.send_if_modified(|judgement| {
            let failed_before = judgement.writes.is_some();
            let trouble = kind(judgement);
            let begins = trouble.is_none();
            let since = trouble.as_ref().map_or_else(SystemTime::now, |trouble| trouble.since);
            *trouble = Some(Trouble { since, error: error.clone() });
            judgement.outages += u64::from(!failed_before && judgement.writes.is_some());
            if begins && !is_said_elsewhere(error) {
                warn!(%error, "{words}");
            }
            begins
        });
    }

    fn mended(&self, kind: impl Fn(&mut Judgement) -> &mut Option<Trouble>, words: &'static str) {
        self.0.send_if_modified(|judgement| {
            let Some(trouble) = kind(judgement).take() else { return false };
            let seconds = trouble.since.elapsed().unwrap_or_default().as_secs_f64();
            if !is_said_elsewhere(&trouble.error) {
                info!(seconds, "{words}");
            }
            true
        });
    }
}

/// That a Redis is away, and back, says whoever keeps the connection.
fn is_said_elsewhere(error: &StorageError) -> bool {
    matches!(error, StorageError::Away)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(error: StorageError) -> Result<(), StorageError> {
        Err(error)
    }

    #[test]
    fn a_failed_write_stands_until_something_was_stored() {
        let health = Health::default();
        let mut seen = health.watch();
        health.wrote(&failed(StorageError::Full));
        assert!(health.is_failing() && seen.has_changed().unwrap());
        let since = seen.borrow_and_update().writes.as_ref().unwrap().since;
        health.wrote(&failed(StorageError::Busy));
        health.wrote(&Ok(()));
        health.read(&Ok(()));
        // The same trouble goes on: nobody is told twice.
        assert!(!seen.has_changed().unwrap());
        let judgement = seen.borrow().clone();
        let trouble = judgement.trouble().unwrap();
        assert!(trouble.since == since && matches!(trouble.error, StorageError::Busy));
        assert_eq!(judgement.outages, 1);
        health.stored();
        assert!(!health.is_failing() && seen.has_changed().unwrap());
    }

    #[test]
    fn a_failed_read_stands_until_one_succeeds() {
        let health = Health::default();
        health.read(&failed(StorageError::Away));
        assert!(health.watch().borrow().trouble().is_some() && !health.is_failing());
        health.stored();
        assert!(health.watch().borrow().reads.is_some());
        health.read(&Ok(()));
        assert!(health.watch().borrow().trouble().is_none());
    }

    #[test]
    fn a_fault_of_one_call_is_none_of_the_store() {
        let health = Health::default();
        health.wrote(&failed(StorageError::failed("a bug")));
        health.read(&failed(StorageError::Closed));
        assert!(health.watch().borrow().trouble().is_none());
    }
}
