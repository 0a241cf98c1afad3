//! Leases, and the words between replicas, of a deployment in memory.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::wrappers::BroadcastStream;

use super::{Decided, Deployment, Replica, Row};
use crate::cluster::{
    Cluster, Contact, HandOver, Lease, Leases, News, Renewal, Replica as Living, Storage, Viewers,
    Whereabouts,
};
use crate::id::SessionId;
use crate::records::{OwnerRequest, REQUEST_LIFE, Record, RecordsError};

impl Deployment {
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
        let requested = row.request.as_ref().is_some_and(|(_, _, at)| at.elapsed() < REQUEST_LIFE);
        Renewal::Kept { requested: deleted || requested }
    }

    fn lapsed(&self, me: &str, since: Option<Duration>, limit: usize) -> Vec<SessionId> {
        let world = self.world();
        let waits = |row: &Row| {
            let Some(owner) = &row.owner else { return true };
            // The owner itself knows best whether its link task still runs.
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

    fn ask_owner(&self, session: &SessionId, request: OwnerRequest) -> Decided<bool> {
        let mut world = self.world();
        let row = world.sessions.get_mut(session).filter(|row| row.record.is_some());
        let row = row.ok_or(RecordsError::Unknown)?;
        row.request = Some((self.now(), request, Instant::now()));
        let Some(owner) = row.owner_now() else { return Ok(false) };
        self.tell(Some(owner), News::Requested(session.clone()));
        Ok(true)
    }

    pub(super) fn tell(&self, whom: Option<String>, news: News) {
        // Nobody may be listening.
        let _ = self.0.words.send((whom, news));
    }
}

#[async_trait]
impl Cluster for Replica {
    fn me(&self) -> &str {
        &self.name
    }

    fn lease(&self) -> Lease {
        Lease::of(self.duration())
    }

    async fn at_start(&self) -> Decided<Vec<Record>> {
        Ok(Vec::new())
    }

    async fn find(&self, session: &SessionId) -> Decided<Whereabouts> {
        let session = session.clone();
        let found = self.call("find", move |all, _| all.find(&session)).await?;
        let shared = |found| Whereabouts::Shared(Box::new(self.contact.believe(found, self.duration())));
        Ok(found.map_or(Whereabouts::Nowhere, shared))
    }

    async fn sessions(&self, _: Vec<SessionId>) -> Decided<Vec<SessionId>> {
        self.ids().await
    }

    async fn viewers(&self, _: Viewers) -> Decided<Viewers> {
        let viewers = |all: &Deployment, _: &str| {
            let mut sum = Viewers::new();
            for (session, count) in all.world().viewers.values().flatten() {
                *sum.entry(session.clone()).or_default() += count;
            }
            sum
        };
        Ok(self.call("viewers", viewers).await?)
    }

    async fn owns(&self, session: &SessionId, epoch: u64) -> bool {
        matches!(self.renew(session, epoch, &|| true).await, Renewal::Kept { .. })
    }

    async fn turn_to_hand_over(&self) -> HandOver {
        HandOver(None)
    }

    async fn hand_over(&self, session: &SessionId, epoch: u64) -> Decided<()> {
        let session = session.clone();
        let give = move |all: &Deployment, me: &str| {
            if all.release_lease(me, &session, epoch, true) {
                all.tell(None, News::Released(session));
            }
        };
        Ok(self.call("hand_over", give).await?)
    }

    fn owner_at_rest(&self) -> Option<String> {
        None
    }

    async fn ask_owner(&self, session: &SessionId, request: &OwnerRequest) -> Decided<bool> {
        let (session, request) = (session.clone(), request.clone());
        self.call("ask_owner", move |all, _| all.ask_owner(&session, request)).await?
    }

    async fn sweep(&self) -> Decided<usize> {
        Ok(0)
    }

    async fn is_last(&self) -> bool {
        self.peers.are_gone(&self.name).await
    }

    fn storage(&self) -> Storage {
        self.contact.storage()
    }

    async fn store_changed(&self) {
        self.contact.changed().await;
    }
}

#[async_trait]
impl Leases for Replica {
    fn duration(&self) -> Duration {
        self.deployment.0.lease
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

    async fn reassert(&self, record: &Record) -> Decided<bool> {
        let record = record.clone();
        Ok(self.call("reassert", move |all, me| all.reassert(me, record)).await?)
    }

    async fn beat(&self, viewers: &Viewers) -> Decided<()> {
        let viewers = viewers.clone();
        let beat = move |all: &Deployment, me: &str| {
            let (now, lease) = (Instant::now(), all.0.lease);
            let mut world = all.world();
            world.viewers.insert(me.to_owned(), viewers);
            world.replicas.entry(me.to_owned()).or_insert((now, now)).0 = now + lease;
            world.living()
        };
        self.peers.set(self.call("beat", beat).await?);
        Ok(())
    }

    async fn leave(&self) {
        let leave = |all: &Deployment, me: &str| {
            let mut world = all.world();
            world.replicas.remove(me);
            world.viewers.remove(me);
            world.living()
        };
        self.peers.leave(self.call("leave", leave).await.ok());
    }

    fn living(&self) -> Vec<Living> {
        self.peers.living()
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
        self.contact.watch()
    }
}
