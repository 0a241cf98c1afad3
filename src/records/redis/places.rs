//! What the limits count, over all replicas: a place for each claimed session, among all and among its user's.
//!
//! A place among all is taken first and given back last, so a look through all of them finds what a crash left in either.

use std::sync::LazyLock;

use super::RedisRecords;
use crate::id::SessionId;
use crate::records::{RecordsError, SessionLimits};
use crate::storage::StorageError;
use crate::storage::redis::Script;

static RESERVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("reserve.lua")));

impl RedisRecords {
    /// Takes both places of a session, or none; false when it had them.
    pub(crate) async fn take_place(
        &self,
        session: &SessionId,
        limits: SessionLimits,
    ) -> Result<bool, RecordsError> {
        let keys = self.redis.keys();
        let of_user = keys.user_places(session.user_id());
        let among_all = self.reserve(keys.places(), session, limits.all).await?;
        if among_all == 0 {
            // Both are full: the user can do something about the one.
            let full = self.reserve(of_user.clone(), session, limits.user).await?;
            if full == 1 {
                self.free(of_user, session).await?;
            }
            return Err(if full == 0 {
                RecordsError::UserLimit(limits.user)
            } else {
                RecordsError::Limit(limits.all)
            });
        }
        if self.reserve(of_user, session, limits.user).await? == 0 {
            if among_all == 1 {
                self.free(keys.places(), session).await?;
            }
            return Err(RecordsError::UserLimit(limits.user));
        }
        Ok(among_all == 1)
    }

    pub(crate) async fn give_place_back(&self, session: &SessionId) -> Result<(), StorageError> {
        let keys = self.redis.keys();
        self.free(keys.user_places(session.user_id()), session).await?;
        self.free(keys.places(), session).await
    }

    /// For the sweep: the session is claimed, so it has its places, whatever the limits are.
    pub(crate) async fn restore_place(&self, session: &SessionId) -> Result<(), StorageError> {
        let keys = self.redis.keys();
        for places in [keys.places(), keys.user_places(session.user_id())] {
            self.reserve(places, session, u32::MAX).await?;
        }
        Ok(())
    }

    /// The sessions that had a place among all before a moment (Redis time, seconds).
    pub(crate) async fn places_before(&self, seconds: i64) -> Result<Vec<SessionId>, StorageError> {
        let (mut range, places) = (redis::cmd("ZRANGEBYSCORE"), self.redis.keys().places());
        range.arg(&places).arg("-inf").arg(seconds);
        self.redis.session_ids(&places, &range).await
    }

    async fn reserve(&self, places: String, session: &SessionId, limit: u32) -> Result<i64, StorageError> {
        let reserve = self.redis.script(&RESERVE).key(&places).arg(session.as_str()).arg(limit);
        self.redis.about(&places, None, reserve.run().await)
    }

    async fn free(&self, places: String, session: &SessionId) -> Result<(), StorageError> {
        let freed = self.redis.query(redis::cmd("ZREM").arg(&places).arg(session.as_str())).await;
        self.redis.about(&places, None, freed)
    }
}
