//! The records of a deployment in memory.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::wrappers::BroadcastStream;

use super::{Deployment, Replica, Row, World};
use crate::event::Time;
use crate::id::SessionId;
use crate::records::{
    Contact, Created, Found, Judgement, Leases, Limits, News, Once, Record, Records, RecordsError, Renewal,
    Replica as Living, Viewers, WISH_LIFE, Wish,
};

/// What a call decided; the store's own failures come before it.
type Decided<T> = Result<T, RecordsError>;

impl World {
    fn over(&self, session: &SessionId, limits: Limits) -> Option<RecordsError> {
        let counts = |mine: bool| {
            let is_mine = |id: &SessionId| !mine || id.user_id() == session.user_id();
            self.sessions.iter().filter(|(id, row)| row.runs && is_mine(id)).count() as u64
        };
        if counts(true) >= u64::from(limits.user) {
            return Some(RecordsError::UserLimit(limits.user));
        }
        (counts(false) >= u64::from(limits.all)).then_some(RecordsError::Limit(limits.all))
    }

    fn living(&mut self) -> Vec<Living> {
        let now = Instant::now();
        self.replicas.retain(|_, (until, _)| now < *until);
        let living = self.replicas.iter();
        living.map(|(name, (_, since))| Living { name: name.clone(), age: since.elapsed() }).collect()
    }
}

impl Deployment {
    fn create(&self, me: &str, record: Record, limits: Limits, once: Option<&Once>) -> Decided<Created> {
        let mut world = self.world();
        if let Some(once) = once
            && let Some((body, session, done)) = world.requests.get(&once.key)
        {
            return match (*body == once.body, *done) {
                (false, _) => Err(RecordsError::KeyReused),
                (true, true) => Ok(Created::Before(session.clone())),
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

    fn claim(&self, me: &str, session: &SessionId, limits: Limits) -> Decided<u64> {
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
            return Err(RecordsError::Held);
        }
        row.epoch = self.next_epoch(row.epoch);
        (row.owner, row.expires, row.runs) = (Some(me.to_owned()), Some(Instant::now() + self.0.lease), true);
        Ok(row.epoch)
    }

    /// Whether it was given up.
    fn give_up(&self, me: &str, session: &SessionId, epoch: u64, runs_on: bool) -> bool {
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
            Some(owner) => self.tell(Some(owner), News::Wished(session.clone())),
            None => row.owner = None,
        }
    }

    fn find(&self, session: &SessionId) -> Option<Found> {
        let world = self.world();
        let row = world.sessions.get(session)?;
        let record = Record { epoch: row.epoch, claimed: row.runs, ..row.record.clone()? };
        let wish = row.wish.as_ref().filter(|(_, _, at)| at.elapsed() < WISH_LIFE);
        Some(Found {
            record,
            owner: row.owner_now(),
            last_owner: row.owner.clone(),
            wish: wish.map(|(at, wish, _)| (*at, wish.clone())),
            last: row.log.last().map(|event| event.at),
        })
    }

    fn renew(&self, me: &str, session: &SessionId, epoch: u64) -> Renewal {
        let mut world = self.world();
        let Some(row) = world.sessions.get_mut(session).filter(|row| row.epoch >= epoch) else {
            return Renewal::Missing;
        };
        if row.owner.as_deref() != Some(me) || row.epoch != epoch {
            return Renewal::Lost;
        }
        row.expires = Some(Instant::now() + self.0.lease);
        let deleted = row.record.as_ref().is_some_and(|record| record.deleted.is_some());
        let wished = row.wish.as_ref().is_some_and(|(_, _, at)| at.elapsed() < WISH_LIFE);
        Renewal::Held { wished: deleted || wished }
    }

    fn lapsed(&self, me: &str, since: Option<Duration>, limit: usize) -> Vec<SessionId> {
        let world = self.world();
        let waits = |row: &Row| {
            let Some(owner) = &row.owner else { return true };
            // Whoever asks knows best whether its own link task still runs.
            let since = if owner == me { Some(Duration::ZERO) } else { since };
            since.is_some_and(|since| row.expires.is_none_or(|at| at + since <= Instant::now()))
        };
        let waiting = world.sessions.iter().filter(|(_, row)| row.record.is_some() && row.runs && waits(row));
        waiting.map(|(id, _)| id.clone()).take(limit).collect()
    }

    fn reassert(&self, me: &str, record: Record) -> bool {
        let mut world = self.world();
        let row = world.sessions.entry(record.session.clone()).or_default();
        if row.epoch > record.epoch || row.epoch == record.epoch && row.owner.as_deref() != Some(me) {
            return false;
        }
        (row.owner, row.epoch, row.runs) = (Some(me.to_owned()), record.epoch, true);
        row.expires = Some(Instant::now() + self.0.lease);
        row.record = Some(record);
        true
    }

    fn wish(&self, session: &SessionId, wish: Wish) -> Decided<bool> {
        let mut world = self.world();
        let row = world.sessions.get_mut(session).filter(|row| row.record.is_some());
        let row = row.ok_or(RecordsError::Unknown)?;
        row.wish = Some((self.now(), wish, Instant::now()));
        let Some(owner) = row.owner_now() else { return Ok(false) };
        self.tell(Some(owner), News::Wished(session.clone()));
        Ok(true)
    }

    fn tell(&self, whom: Option<String>, news: News) {
        // Nobody may be listening.
        let _ = self.0.words.send((whom, news));
    }
}

#[async_trait]
impl Records for Replica {
    async fn create(&self, record: Record, limits: Limits, once: Option<Once>) -> Decided<Created> {
        self.call("create", move |all, me| all.create(me, record, limits, once.as_ref())).await?
    }

    async fn claim(&self, session: &SessionId, limits: Limits) -> Decided<u64> {
        let session = session.clone();
        self.call("claim", move |all, me| all.claim(me, &session, limits)).await?
    }

    async fn release(&self, session: &SessionId, epoch: u64) -> Decided<()> {
        let session = session.clone();
        self.call("release", move |all, me| all.give_up(me, &session, epoch, false)).await?;
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
        let ids = Leases::sessions(self).await?;
        let all = move |all: &Deployment, _: &str| ids.iter().filter_map(|id| all.find(id)).collect();
        let found: Vec<Found> = self.call("all", all).await?;
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

#[async_trait]
impl Leases for Replica {
    fn lease(&self) -> Duration {
        self.deployment.0.lease
    }

    async fn find(&self, session: &SessionId) -> Decided<Option<Found>> {
        let session = session.clone();
        Ok(self.call("find", move |all, _| all.find(&session)).await?)
    }

    async fn sessions(&self) -> Decided<Vec<SessionId>> {
        let sessions = |all: &Deployment, _: &str| {
            let world = all.world();
            let there = world.sessions.iter().filter(|(_, row)| row.record.is_some());
            there.map(|(id, _)| id.clone()).collect()
        };
        Ok(self.call("sessions", sessions).await?)
    }

    async fn claimed(&self) -> Decided<usize> {
        let claimed =
            |all: &Deployment, _: &str| all.world().sessions.values().filter(|row| row.runs).count();
        Ok(self.call("claimed", claimed).await?)
    }

    async fn renew(&self, session: &SessionId, epoch: u64, _: &(dyn Fn() -> bool + Sync)) -> Renewal {
        let session = session.clone();
        let renewed = self.call("renew", move |all, me| all.renew(me, &session, epoch)).await;
        renewed.unwrap_or(Renewal::Unknown)
    }

    async fn lapsed(&self, since: Option<Duration>, limit: usize) -> Decided<Vec<SessionId>> {
        Ok(self.call("lapsed", move |all, me| all.lapsed(me, since, limit)).await?)
    }

    async fn hand_over(&self, session: &SessionId, epoch: u64) -> Decided<()> {
        let session = session.clone();
        let give = move |all: &Deployment, me: &str| {
            if all.give_up(me, &session, epoch, true) {
                all.tell(None, News::Released(session));
            }
        };
        Ok(self.call("hand_over", give).await?)
    }

    async fn reassert(&self, record: &Record) -> Decided<bool> {
        let record = record.clone();
        Ok(self.call("reassert", move |all, me| all.reassert(me, record)).await?)
    }

    async fn sweep(&self) -> Decided<usize> {
        Ok(0)
    }

    async fn beat(&self, viewers: &Viewers) -> Decided<Vec<Living>> {
        let viewers = viewers.clone();
        let beat = move |all: &Deployment, me: &str| {
            let (now, lease) = (Instant::now(), all.0.lease);
            let mut world = all.world();
            world.viewers.insert(me.to_owned(), viewers);
            world.replicas.entry(me.to_owned()).or_insert((now, now)).0 = now + lease;
            world.living()
        };
        Ok(self.call("beat", beat).await?)
    }

    async fn leave(&self) -> Decided<Vec<Living>> {
        let leave = |all: &Deployment, me: &str| {
            let mut world = all.world();
            world.replicas.remove(me);
            world.viewers.remove(me);
            world.living()
        };
        Ok(self.call("leave", leave).await?)
    }

    async fn viewers(&self) -> Decided<Viewers> {
        let viewers = |all: &Deployment, _: &str| {
            let mut sum = Viewers::new();
            for (session, count) in all.world().viewers.values().flatten() {
                *sum.entry(session.clone()).or_default() += count;
            }
            sum
        };
        Ok(self.call("viewers", viewers).await?)
    }

    async fn wish(&self, session: &SessionId, wish: &Wish) -> Decided<bool> {
        let (session, wish) = (session.clone(), wish.clone());
        self.call("wish", move |all, _| all.wish(&session, wish)).await?
    }

    fn news(&self) -> BoxStream<'static, News> {
        let me = self.name.clone();
        let heard = BroadcastStream::new(self.deployment.0.words.subscribe());
        let news = heard.filter_map(move |word| {
            let mine = match word {
                Ok((whom, news)) => whom.is_none_or(|whom| whom == me).then_some(news),
                Err(_) => Some(News::Missed),
            };
            std::future::ready(mine)
        });
        stream::StreamExt::boxed(news)
    }

    fn contact(&self) -> watch::Receiver<Contact> {
        self.deployment.contact(&self.name).subscribe()
    }
}
