//! The logs of a deployment in memory.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use tokio::sync::broadcast::error::RecvError;
use tokio_stream::wrappers::BroadcastStream;

use super::{Deployment, Replica};
use crate::event::{Cursor, Event};
use crate::id::SessionId;
use crate::log::{AppendError, Appended, EventLog, Followed, LogTail};
use crate::storage::StorageError;

impl Deployment {
    /// As `append.lua` decides. `holes`: events before it may be missing for good.
    fn append(&self, me: &str, epoch: u64, event: Arc<Event>, holes: bool) -> Result<(), AppendError> {
        let mut world = self.world();
        let row = world.sessions.entry(event.session.clone()).or_default();
        if row.epoch < epoch {
            return Err(StorageError::Away.into());
        }
        if row.owner.as_deref() != Some(me) || row.epoch != epoch {
            return Err(AppendError::Fenced);
        }
        let last = row.log.last().map(|event| event.at);
        if last.is_some_and(|last| event.at <= last) {
            // Written before, and the answer was lost.
            return Ok(());
        }
        let before = last.filter(|last| last.epoch == event.at.epoch).map_or(0, |last| last.seq);
        if !holes && event.at.seq > before + 1 {
            return Err(StorageError::Away.into());
        }
        row.log.push(event.clone());
        let surplus = row.log.len().saturating_sub(self.0.history + 1);
        row.log.drain(..surplus);
        // Nobody may be following.
        let _ = self.0.live.send((event.session.clone(), Some(event)));
        Ok(())
    }

    fn read(&self, session: &SessionId) -> LogTail {
        let world = self.world();
        let mut events = world.sessions.get(session).map(|row| row.log.clone()).unwrap_or_default();
        let trimmed = (events.len() > self.0.history).then(|| events.remove(0).at);
        LogTail { events, trimmed }
    }
}

#[async_trait]
impl EventLog for Replica {
    async fn append(&self, event: Arc<Event>) -> Result<(), AppendError> {
        self.call("append", move |all, me| all.append(me, event.at.epoch, event, false)).await?
    }

    fn follow(&self, session: SessionId, after: Option<Cursor>) -> BoxStream<'static, Followed> {
        let (deployment, heard) = (self.deployment.clone(), self.deployment.0.live.subscribe());
        let start = (deployment, heard, session, after, Vec::new());
        stream::unfold(start, async |(deployment, mut heard, session, mut at, mut waiting)| {
            loop {
                // What is kept after the last one told, oldest at the end.
                if waiting.is_empty() {
                    let LogTail { events, trimmed } = deployment.read(&session);
                    if let Some(cut) = trimmed.filter(|cut| at.is_some_and(|at| at < *cut)) {
                        at = Some(cut);
                        return Some((Followed::Cut(cut), (deployment, heard, session, at, waiting)));
                    }
                    waiting = events.into_iter().filter(|event| at.is_none_or(|at| event.at > at)).collect();
                    waiting.reverse();
                }
                if let Some(event) = waiting.pop() {
                    at = Some(event.at);
                    return Some((Followed::Event(event), (deployment, heard, session, at, waiting)));
                }
                match heard.recv().await {
                    Ok((whose, None)) if whose == session => {
                        return Some((Followed::Gone, (deployment, heard, session, at, waiting)));
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        })
        .boxed()
    }

    fn follow_all(&self) -> BoxStream<'static, Appended> {
        let heard = BroadcastStream::new(self.deployment.0.live.subscribe());
        let told = heard.filter_map(async |heard| match heard {
            Ok((_, event)) => event.map(Appended::Event),
            Err(_) => Some(Appended::Missed),
        });
        stream::once(async { Appended::Missed }).chain(told).boxed()
    }

    async fn restore(
        &self,
        session: &SessionId,
        epoch: u64,
        events: &[Arc<Event>],
    ) -> Result<(), AppendError> {
        let (session, events) = (session.clone(), events.to_vec());
        let restore = move |all: &Deployment, me: &str| {
            let end = all.read(&session).events.last().map(|event| event.at);
            let mut missing = events.into_iter().filter(|event| end.is_none_or(|end| event.at > end));
            missing.try_for_each(|event| all.append(me, epoch, event, true))
        };
        self.call("restore", restore).await?
    }

    async fn after(&self, session: &SessionId, after: Option<Cursor>) -> Result<LogTail, StorageError> {
        let session = session.clone();
        let after = move |all: &Deployment, _: &str| {
            let LogTail { mut events, trimmed } = all.read(&session);
            events.retain(|event| after.is_none_or(|after| event.at > after));
            LogTail { events, trimmed }
        };
        self.call("after", after).await
    }

    async fn last(&self, session: &SessionId) -> Result<Option<Arc<Event>>, StorageError> {
        let session = session.clone();
        self.call("last", move |all, _| all.read(&session).events.pop()).await
    }

    async fn read_others(&self, session: &SessionId) -> Result<LogTail, StorageError> {
        EventLog::read(self, session).await
    }

    async fn read(&self, session: &SessionId) -> Result<LogTail, StorageError> {
        let session = session.clone();
        self.call("read", move |all, _| all.read(&session)).await
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StorageError> {
        let session = session.clone();
        let forget = move |all: &Deployment, _: &str| {
            if let Some(row) = all.world().sessions.get_mut(&session) {
                row.log.clear();
            }
            let _ = all.0.live.send((session, None));
        };
        self.call("forget", forget).await
    }

    async fn blank_expired(&self) -> Result<(), StorageError> {
        Ok(())
    }

    async fn sessions(&self) -> Result<Vec<SessionId>, StorageError> {
        let sessions = |all: &Deployment, _: &str| {
            let world = all.world();
            let with_log = world.sessions.iter().filter(|(_, row)| !row.log.is_empty());
            with_log.map(|(id, _)| id.clone()).collect()
        };
        self.call("sessions", sessions).await
    }
}
