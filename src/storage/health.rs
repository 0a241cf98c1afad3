//! Whether a store works: whether its last write and its last read succeeded, and since when they have failed.
//!
//! The engines report the result of each call. A failed write counts until a probe ([`Health::stored`]) shows that the
//! store can be written again, because an ordinary write that succeeds may have had nothing to store.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tracing::{info, warn};

use super::StorageError;

/// The health of an engine, shared by the engine and the parts that ask for it.
#[derive(Clone, Debug)]
pub(crate) struct Health(Arc<watch::Sender<Judgement>>);

/// The state of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judgement {
    /// The failure of writes, if they fail.
    pub writes: Option<Trouble>,
    /// The failure of reads, if they fail.
    pub reads: Option<Trouble>,
    /// How often writes have begun to fail. A part that was busy meanwhile sees from it that an outage came and went.
    pub outages: u64,
}

/// The last call of a kind failed.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// When the calls began to fail.
    pub since: SystemTime,
    /// The error of the last call.
    pub error: StorageError,
}

impl Judgement {
    /// The failure to report: that of writes, which is the worse, or else that of reads.
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        self.writes.as_ref().or(self.reads.as_ref())
    }
}

impl Default for Health {
    /// A store in which nothing has failed yet.
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Judgement::default())))
    }
}

impl Health {
    /// The state of the store and its changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Judgement> {
        self.0.subscribe()
    }

    /// Whether writes fail at the moment.
    pub(crate) fn is_failing(&self) -> bool {
        self.0.borrow().writes.is_some()
    }

    /// Reports the result of a write. A success changes nothing, see the head of this file.
    pub(super) fn wrote<T>(&self, outcome: &Result<T, StorageError>) {
        if let Err(error) = outcome
            && error.is_of_the_store()
        {
            self.failed(error, |judgement| &mut judgement.writes, "the store takes no writes");
        }
    }

    /// Reports the result of a read.
    pub(super) fn read<T>(&self, outcome: &Result<T, StorageError>) {
        match outcome {
            Ok(_) => self.mended(|judgement| &mut judgement.reads, "the store can be read again"),
            Err(error) if error.is_of_the_store() => {
                self.failed(error, |judgement| &mut judgement.reads, "the store cannot be read");
            }
            Err(_) => {}
        }
    }

    /// Reports that a probe has stored something, or that a connection takes writes.
    pub(crate) fn stored(&self) {
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

/// Not logged here: the keeper of the Redis connection logs that Redis is away, and that it is back.
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
        // The failure continues; it was reported already.
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
