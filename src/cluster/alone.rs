//! One process that has every session to itself: each is always its own, and nobody asks anything of it. `server/store.rs`
//! chooses it for SQLite.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Cluster, HandOver, Lease, Storage, Viewers, Whereabouts};
use crate::id::SessionId;
use crate::records::{OwnerRequest, Record, Records, RecordsError};

/// The only process there is.
pub(crate) struct Alone {
    me: Arc<str>,
    records: Arc<dyn Records>,
}

impl Alone {
    /// Has the sessions of these records.
    pub(crate) fn new(me: impl Into<Arc<str>>, records: Arc<dyn Records>) -> Self {
        Self { me: me.into(), records }
    }
}

#[async_trait]
impl Cluster for Alone {
    fn me(&self) -> &str {
        &self.me
    }

    fn lease(&self) -> Lease {
        Lease::forever()
    }

    async fn at_start(&self) -> Result<Vec<Record>, RecordsError> {
        self.records.all().await
    }

    async fn find(&self, _: &SessionId) -> Result<Whereabouts, RecordsError> {
        Ok(Whereabouts::Here)
    }

    async fn sessions(&self, here: Vec<SessionId>) -> Result<Vec<SessionId>, RecordsError> {
        Ok(here)
    }

    async fn viewers(&self, here: Viewers) -> Result<Viewers, RecordsError> {
        Ok(here)
    }

    async fn owns(&self, _: &SessionId, _: u64) -> bool {
        true
    }

    async fn turn_to_hand_over(&self) -> HandOver {
        HandOver(None)
    }

    async fn hand_over(&self, _: &SessionId, _: u64) -> Result<(), RecordsError> {
        Ok(())
    }

    fn owner_at_rest(&self) -> Option<String> {
        Some(self.me.to_string())
    }

    async fn ask_owner(&self, _: &SessionId, _: &OwnerRequest) -> Result<bool, RecordsError> {
        Ok(false)
    }

    async fn sweep(&self) -> Result<usize, RecordsError> {
        Ok(0)
    }

    async fn is_last(&self) -> bool {
        true
    }

    fn storage(&self) -> Storage {
        Storage::Here
    }

    async fn store_changed(&self) {
        std::future::pending().await
    }
}
