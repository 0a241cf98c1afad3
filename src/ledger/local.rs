//! The ledger of one replica without a store: it owns every session there is.

use async_trait::async_trait;
use dashmap::DashMap;

use super::{Ledger, LedgerError, Record};
use crate::event::Time;
use crate::id::SessionId;

/// Records in this process's memory.
#[derive(Default)]
pub struct LocalLedger {
    /// An entry goes with [`Ledger::remove`].
    sessions: DashMap<SessionId, (Record, u64)>,
}

#[async_trait]
impl Ledger for LocalLedger {
    async fn create(&self, record: Record) -> Result<(), LedgerError> {
        self.sessions.insert(record.session.clone(), (record, 0));
        Ok(())
    }

    async fn get(&self, session: &SessionId) -> Result<Option<Record>, LedgerError> {
        Ok(self.sessions.get(session).map(|entry| entry.0.clone()))
    }

    async fn claim(&self, session: &SessionId) -> Result<u64, LedgerError> {
        let mut entry = self.sessions.get_mut(session).ok_or(LedgerError::Unknown)?;
        let now = u64::try_from(Time::now().as_millis()).unwrap_or(0);
        entry.1 = now.max(entry.1 + 1);
        Ok(entry.1)
    }

    async fn remove(&self, session: &SessionId) -> Result<(), LedgerError> {
        self.sessions.remove(session);
        Ok(())
    }
}
