//! What Redis knows of a session, and of which sessions it knows.

use std::sync::LazyLock;

use futures::{StreamExt as _, stream};

use super::{RedisRecords, record};
use crate::id::SessionId;
use crate::records::{RecordsError, SessionInfo};
use crate::storage::redis::Script;
use crate::storage::redis::index::shards;

static FIND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("find.lua")));

/// Commands under way at a time, where there is one for each session.
const LOOK_UPS_AT_ONCE: usize = 64;

/// Does something for each session, some at a time; the answers in their order.
pub(crate) async fn each<F: Future>(sessions: &[SessionId], work: impl Fn(SessionId) -> F) -> Vec<F::Output> {
    stream::iter(sessions.to_vec()).map(work).buffered(LOOK_UPS_AT_ONCE).collect().await
}

impl RedisRecords {
    /// One session, as the deployment knows it at this moment. `None` where there is none: while Redis may have lost what an
    /// owner is about to write again, nobody can tell, and that is an error.
    ///
    /// # Errors
    /// See [`RecordsError`].
    pub(crate) async fn find(&self, session: &SessionId) -> Result<Option<SessionInfo>, RecordsError> {
        let found = self.look(session).await?;
        if found.is_none() {
            self.surely_unknown(session).await?;
        }
        Ok(found)
    }

    /// What is there at this moment, even if that may be less than was there: [`RedisRecords::find`] says when nobody can tell.
    ///
    /// # Errors
    /// See [`RecordsError`].
    pub(crate) async fn look(&self, session: &SessionId) -> Result<Option<SessionInfo>, RecordsError> {
        let key = self.redis.keys().session(session);
        let fields = self.redis.script(&FIND).key(&key).run().await;
        let fields = self.redis.about(&key, Some(session), fields)?;
        let found = record::parse(session, fields).map_err(|why| {
            self.redis.damage().note(&key, "", Some(session), why);
            RecordsError::damaged()
        })?;
        self.redis.damage().is_whole(&key, "");
        if let Some(proxy) = found.as_ref().and_then(|found| found.record.proxy.as_ref()) {
            match proxy.parse() {
                Ok(_) => self.redis.damage().is_whole(&key, "proxy"),
                // It goes no other way than its own, so it waits and says why.
                Err(_) => self.redis.damage().note(&key, "proxy", Some(session), "its proxy cannot be read"),
            }
        }
        Ok(found)
    }

    /// Every session, in no order. May name one that was just removed.
    pub(crate) async fn sessions(&self) -> Result<Vec<SessionId>, RecordsError> {
        let mut all = Vec::new();
        for shard in shards() {
            let (mut range, index) = (redis::cmd("ZRANGE"), self.redis.keys().sessions(shard));
            range.arg(&index).arg(0).arg(-1);
            all.extend(self.redis.session_ids(&index, &range).await?);
        }
        // A list without those that are about to be written again would be taken for the whole.
        if self.redis.has_lost_data(self.lease).await? { Err(RecordsError::away()) } else { Ok(all) }
    }

    /// There is no such session in Redis: Ok where there is none at all. For one lease after Redis has lost its data, or may
    /// have lost the end of it, its owner may be about to write it again: by then each one that lives has. The same where the
    /// index, which may be on another node of a cluster, names an owner whose lease lasts or has just lapsed.
    pub(crate) async fn surely_unknown(&self, session: &SessionId) -> Result<(), RecordsError> {
        let mut score = redis::cmd("ZSCORE");
        score.arg(self.index(session)).arg(session.as_str());
        let expires: Option<f64> = self.redis.query(&score).await?;
        if let Some(expires) = expires.filter(|at| at.is_finite()) {
            let lapsed = self.redis.now().await? as f64 - expires;
            if lapsed < self.lease.as_millis() as f64 {
                return Err(RecordsError::away());
            }
        }
        if self.redis.knows_all(self.lease).await? { Ok(()) } else { Err(RecordsError::away()) }
    }
}
