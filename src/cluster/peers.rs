//! Which replicas lived when this one last asked, for `OnRedis`.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Replica;

/// How long a replica that leaves waits to hear who else lives.
const LEAVING: Duration = Duration::from_millis(500);

/// The replicas of a deployment, as one of them knows them.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    living: Mutex<Vec<Replica>>,
    /// This replica has said that it leaves, or was not answered.
    left: CancellationToken,
}

impl Peers {
    /// These live now.
    pub(crate) fn set(&self, living: Vec<Replica>) {
        *self.living.lock() = living;
    }

    pub(crate) fn living(&self) -> Vec<Replica> {
        self.living.lock().clone()
    }

    /// This replica leaves. `living`: those that stay; `None` keeps the ones that were known before.
    pub(crate) fn leave(&self, living: Option<Vec<Replica>>) {
        if let Some(living) = living {
            self.set(living);
        }
        self.left.cancel();
    }

    /// Once this replica has left: whether nobody lives but it. While the store is away the answer to the last beat counts.
    pub(crate) async fn are_gone(&self, me: &str) -> bool {
        let _ = timeout(LEAVING, self.left.cancelled()).await;
        self.living().iter().all(|replica| replica.name == me)
    }
}
