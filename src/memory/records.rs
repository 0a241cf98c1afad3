//! The records of a deployment in memory.

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Decided, Deployment, Replica, Row, World};
use crate::cluster::{News, Replica as Living};
use crate::event::Time;
use crate::id::SessionId;
use crate::records::{
    Created, IdempotencyKey, Judgement, REQUEST_LIFE, Record, Records, RecordsError, SessionInfo,
    SessionLimits,
};

impl World {
    fn over(&self, session: &SessionId, limits: SessionLimits) -> Option<RecordsError> {
        let counts = |mine: bool| {
            let is_mine = |id: &SessionId| !mine || id.user_id() == session.user_id();
            self.sessions.iter().filter(|(id, row)| row.runs && is_mine(id)).count() as u64
        };
        if counts(true) >= u64::from(limits.user) {
            return Some(RecordsError::UserLimit(limits.user));
        }
        (counts(false) >= u64::from(limits.all)).then_some(RecordsError::Limit(limits.all))
    }

    pub(super) fn living(&mut self) -> Vec<Living> {
        let now = Instant::now();
        self.replicas.retain(|_, (until, _)| now < *until);
        let living = self.replicas.iter();
        living.map(|(name, (_, since))| Living { name: name.clone(), age: since.elapsed() }).collect()
    }
}

impl Deployment {
    fn create(
        &self,
        me: &str,
        record: Record,
        limits: SessionLimits,
        once: Option<&IdempotencyKey>,
    ) -> Decided<Created> {
        let mut world = self.world();
        if let Some(once) = once
            && let Some((body, session, done)) = world.requests.get(&once.key)
        {
            return match (*body == once.body, *done) {
                (false, _) => Err(RecordsError::KeyReused),
                (true, true) => Ok(Created::Existing(session.clone())),
                (true, false) => Err(RecordsError::KeyRunning),
            };
        }
        if let Some(refusal) = world.over(&record.session, limits) {
            return Err(refusal);
        }
        let (session, epoch) = (record.session.clone(), self.next_epoch(0));
        if let Some(once) = once {
            world.requests.insert(once.key.clone(), (once.body, session.clone(), true));
        }
        let (owner, expires) = (Some(me.to_owned()), Some(Instant::now() + self.0.lease));
        let row = Row { record: Some(record), owner, expires, epoch, runs: true, ..Row::default() };
        world.sessions.insert(session, row);
        Ok(Created::New(epoch))
    }

    fn claim(&self, me: &str, session: &SessionId, limits: SessionLimits) -> Decided<u64> {
        let mut world = self.world();
        let over = world.over(session, limits);
        let row = world.sessions.get_mut(session).filter(|row| row.record.is_some());
        let row = row.ok_or(RecordsError::Unknown)?;
        if !row.runs
            && let Some(refusal) = over
        {
            return Err(refusal);
        }
        if row.is_held_by_another(me) {
            return Err(RecordsError::OwnedElsewhere);
        }
        row.epoch = self.next_epoch(row.epoch);
        (row.owner, row.expires, row.runs) = (Some(me.to_owned()), Some(Instant::now() + self.0.lease), true);
        Ok(row.epoch)
    }

    /// Whether it was released.
    pub(super) fn release_lease(&self, me: &str, session: &SessionId, epoch: u64, runs_on: bool) -> bool {
        let mut world = self.world();
        let Some(row) = world.sessions.get_mut(session) else { return true };
        if row.epoch != epoch || row.is_held_by_another(me) {
            return false;
        }
        (row.owner, row.expires, row.runs) = (None, None, runs_on);
        true
    }

    fn delete(&self, session: &SessionId, at: Time) {
        let mut world = self.world();
        let Some(row) = world.sessions.get_mut(session) else { return };
        let Some(record) = row.record.as_mut().filter(|record| record.deleted.is_none()) else { return };
        record.deleted = Some(at);
        row.runs = true;
        match row.owner_now() {
            Some(owner) => self.tell(Some(owner), News::Requested(session.clone())),
            None => row.owner = None,
        }
    }

    pub(super) fn find(&self, session: &SessionId) -> Option<SessionInfo> {
        let world = self.world();
        let row = world.sessions.get(session)?;
        let record = Record { epoch: row.epoch, claimed: row.runs, ..row.record.clone()? };
        let request = row.request.as_ref().filter(|(_, _, at)| at.elapsed() < REQUEST_LIFE);
        Some(SessionInfo {
            record,
            owner: row.owner_now(),
            last_owner: row.owner.clone(),
            request: request.map(|(at, request, _)| (*at, request.clone())),
            last: row.log.last().map(|event| event.at),
        })
    }
}

impl Replica {
    pub(super) async fn ids(&self) -> Decided<Vec<SessionId>> {
        let sessions = |all: &Deployment, _: &str| {
            let world = all.world();
            let there = world.sessions.iter().filter(|(_, row)| row.record.is_some());
            there.map(|(id, _)| id.clone()).collect()
        };
        Ok(self.call("sessions", sessions).await?)
    }
}

#[async_trait]
impl Records for Replica {
    async fn create(
        &self,
        record: Record,
        limits: SessionLimits,
        once: Option<IdempotencyKey>,
    ) -> Decided<Created> {
        self.call("create", move |all, me| all.create(me, record, limits, once.as_ref())).await?
    }

    async fn claim(&self, session: &SessionId, limits: SessionLimits) -> Decided<u64> {
        let session = session.clone();
        self.call("claim", move |all, me| all.claim(me, &session, limits)).await?
    }

    async fn release(&self, session: &SessionId, epoch: u64) -> Decided<()> {
        let session = session.clone();
        self.call("release", move |all, me| all.release_lease(me, &session, epoch, false)).await?;
        Ok(())
    }

    async fn delete(&self, session: &SessionId, at: Time) -> Decided<()> {
        let session = session.clone();
        Ok(self.call("delete", move |all, _| all.delete(&session, at)).await?)
    }

    async fn remove(&self, session: &SessionId) -> Decided<()> {
        let session = session.clone();
        let remove = move |all: &Deployment, _: &str| {
            if let Some(row) = all.world().sessions.get_mut(&session) {
                *row = Row { log: std::mem::take(&mut row.log), ..Row::default() };
            }
        };
        Ok(self.call("remove", remove).await?)
    }

    async fn all(&self) -> Decided<Vec<Record>> {
        let ids = self.ids().await?;
        let all = move |all: &Deployment, _: &str| ids.iter().filter_map(|id| all.find(id)).collect();
        let found: Vec<SessionInfo> = self.call("all", all).await?;
        Ok(found.into_iter().map(|found| found.record).collect())
    }

    async fn forget_keys(&self) -> Decided<()> {
        Ok(())
    }

    async fn token_secret(&self, new: &str) -> Decided<String> {
        let new = new.to_owned();
        let secret = move |all: &Deployment, _: &str| all.world().secret.get_or_insert(new).clone();
        Ok(self.call("token_secret", secret).await?)
    }

    async fn check(&self) -> Decided<()> {
        self.call("check", |_, _| ()).await?;
        self.health.stored();
        Ok(())
    }

    fn health(&self) -> watch::Receiver<Judgement> {
        self.health.watch()
    }
}
