//! The keys of the whole deployment: which are of another kind than they should be, and what has to follow when those are
//! set aside. A server makes such a key anew when it needs it; only the indexes must not forget anything.

use tokio::time::sleep;

use super::Store;
use crate::check_store::{CheckError, Failed, read};
use crate::cluster::Cluster as _;
use crate::storage::StorageError;
use crate::storage::damage::Damaged;
use crate::storage::redis::index::shard_of;
use crate::storage::redis::schema::Kind;

impl Store {
    /// Notes those that are of another kind.
    pub(super) async fn look_at_the_deployment(&self) -> Result<(), StorageError> {
        let keys = self.redis.keys();
        let mut all = keys.of_the_deployment();
        let of_users = self.redis.scan(&keys.glob().user_places("*")).await?;
        all.extend(of_users.into_iter().map(|places| (places, Kind::SortedSet)));
        for (key, kind) in &all {
            self.redis.check_kind(key, *kind).await?;
        }
        Ok(())
    }

    /// How many replicas run. If one of the two keys that say so is damaged, both are set aside at once, and one lease is
    /// waited for: each replica that runs writes them again meanwhile.
    pub(super) async fn living(&self, damaged: &[Damaged]) -> Result<usize, CheckError> {
        let keys = self.redis.keys();
        let said_by = [keys.life(), keys.since()];
        if damaged.iter().any(|damaged| said_by.contains(&damaged.table)) {
            // Both: what only one of them names would stay for ever.
            for key in &said_by {
                self.rename(key).await.map_err(CheckError::SetAside)?;
            }
            sleep(self.records.lease).await;
        }
        Ok(self.cluster.replicas(0).await.map_err(read)?.len())
    }

    /// Writes what was set aside and what no server would write again by itself: the indexes by the keys that there are, and
    /// the places of the limits by the sessions.
    pub(super) async fn make_anew(&self, damaged: &[Damaged]) -> Result<(), StorageError> {
        if damaged.iter().all(|damaged| damaged.session.is_some() || !damaged.key.is_empty()) {
            return Ok(());
        }
        let keys = self.redis.keys();
        let all = self.redis.scan(&(keys.glob().session("*") + "*")).await?;
        for session in all.iter().filter_map(|key| keys.session_of(key)) {
            let (shard, id) = (shard_of(&session), session.as_str());
            // Released, as far as an index knows: the first look at it finds out.
            let adds = [
                (keys.sessions(shard), "ZADD", Some("0")),
                (keys.logs(shard), "SADD", None),
                (keys.devices(shard), "SADD", None),
            ];
            for (index, add, score) in adds.into_iter().filter(|(index, ..)| is_about(damaged, index)) {
                self.redis.query::<()>(redis::cmd(add).arg(&index).arg(score).arg(id)).await?;
            }
        }
        self.cluster.sweep().await.map_err(|error| Failed::from(error).0)?;
        Ok(())
    }
}

/// Whether this key as a whole is damaged.
fn is_about(damaged: &[Damaged], key: &str) -> bool {
    damaged.iter().any(|damaged| damaged.table == key && damaged.key.is_empty())
}
