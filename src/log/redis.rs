//! The log of many replicas: each log is a Redis Stream, each event is also published on its session's channel.
//!
//! An entry's id is the event's own, so Redis itself refuses one that is not greater than the last. One script checks
//! owner and epoch in the session's lease (`records` writes it), appends, notes the event as the session's last, and
//! publishes it: an event that was published is in the log.
//!
//! The string of a QR is not in the log: an entry of a stream cannot be changed, and the string is a credential. It is
//! in a key of its own that Redis lets go by itself, [`QR_MARGIN`] after the QR has expired. A newer QR replaces it.
//!
//! `docs/redis-keys.md` lists its keys, fields and channels.

mod follow;
mod queue;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;

use self::queue::Queue;
use super::{AppendError, Appended, EventLog, Followed, LogTail, Queueing};
use crate::event::{Cursor, Event, Kind, Qr};
use crate::id::SessionId;
use crate::storage::StorageError;
use crate::storage::redis::index::Index;
use crate::storage::redis::schema::{Keys, field};
use crate::storage::redis::{Redis, Script};

/// How long the string of an expired QR stays: the clocks of Redis and of an owner may differ by so much.
pub(crate) const QR_MARGIN: Duration = Duration::from_secs(60);

static APPEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/append.lua")));
static READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/read.lua")));
static LAST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/last.lua")));
static FORGET: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/forget.lua")));

/// Logs in Redis. Clones are the same.
#[derive(Clone)]
pub(crate) struct RedisLog {
    redis: Redis,
    /// This replica, as `records` writes it into a lease.
    owner: Arc<str>,
    /// How many events a log keeps, and one more, which says where it was cut.
    keep: u32,
    logs: Index,
    queue: Option<Queue>,
}

/// A log from an id on.
struct Part {
    events: Vec<Arc<Event>>,
    /// The newest that is not kept, or that cannot be read, when there is one: the events come after it.
    cut: Option<Cursor>,
}

impl RedisLog {
    /// For the replica that `records` calls `owner`; each log keeps its last `history` events.
    pub(crate) fn new(redis: Redis, owner: impl Into<Arc<str>>, history: u32) -> Self {
        let logs = Index::new(redis.clone(), Keys::logs);
        Self { redis, owner: owner.into(), keep: history.saturating_add(1), logs, queue: None }
    }

    /// The same, for webhooks.
    pub(crate) fn queueing(self, queueing: Queueing) -> Self {
        Self { queue: Some(Queue::new(self.redis.clone(), queueing)), ..self }
    }

    /// Before events are put in: their session is due. `begins`: it may be the first time that this process writes it.
    async fn queue(&self, session: &SessionId, begins: bool) -> Result<bool, StorageError> {
        match &self.queue {
            Some(queue) => queue.add(session, begins).await,
            None => Ok(false),
        }
    }

    /// After they were put in.
    fn wake(&self, session: &SessionId) {
        if let Some(queue) = &self.queue {
            queue.wake(session);
        }
    }

    /// `holes`: events before it may be missing for good.
    async fn put(&self, event: &Event, epoch: u64, holes: bool) -> Result<(), AppendError> {
        let (id, keys) = (&event.session, self.redis.keys());
        let body = kept(event);
        let qr = match &event.kind {
            Kind::Qr(qr) => Some(qr),
            _ => None,
        };
        // Where it has no QR, what is published is what is kept.
        let whole = if qr.is_some() { event.to_log() } else { body.clone() };
        let append = self
            .redis
            .script(&APPEND)
            .key(keys.session(id))
            .key(keys.log(id))
            .key(keys.qr(id))
            .arg(&*self.owner)
            .arg(epoch)
            .arg(event.at.to_string())
            .arg(body)
            .arg(self.keep)
            .arg(keys.live(id))
            .arg(format!("{} {whole}", event.at))
            .arg(qr.map_or("", |qr| &qr.qr_string))
            .arg(qr.map_or(0, |qr| qr.expires_at.after(QR_MARGIN).as_millis()))
            .arg(keys.all_live())
            .arg(id.as_str())
            .arg(if holes { "1" } else { "" });
        match append.run::<i64>().await? {
            1 => Ok(()),
            0 => Err(AppendError::Fenced),
            // Redis lost its data: the owner writes its lease again, then this goes in.
            _ => Err(StorageError::Away.into()),
        }
    }

    /// What is kept after `after`.
    async fn part(&self, session: &SessionId, after: Option<Cursor>) -> Result<Part, StorageError> {
        // Bytes: an entry may hold any, and one that is damaged must not hide the others.
        type Rows = Vec<(String, Vec<Vec<u8>>)>;
        let keys = self.redis.keys();
        let log = keys.log(session);
        let read = self
            .redis
            .script(&READ)
            .key(&log)
            .key(keys.qr(session))
            .arg(after.map_or_else(|| "-".to_owned(), |at| at.to_string()))
            .arg(self.keep);
        let (qr, length, first, rows): (Vec<u8>, u64, String, Rows) =
            self.redis.about(&log, Some(session), read.run().await)?;
        let mut cut = if length >= u64::from(self.keep) { Some(id_of(&first)?) } else { None };
        let mut events = Vec::with_capacity(rows.len());
        for (id, fields) in rows {
            match fields.get(1).and_then(|body| parse(session, &id, body, &qr)) {
                Some(event) => events.push(Arc::new(event)),
                None => {
                    self.redis.damage().note(&log, &id, Some(session), "it is not an event");
                    // A viewer that has seen only what comes before it is told that there is a gap.
                    cut = Some(id_of(&id)?);
                    events.clear();
                }
            }
        }
        Ok(Part { events, cut })
    }

    /// The last event as the session's own hash has it.
    async fn noted_last(&self, session: &SessionId) -> Result<Option<Arc<Event>>, StorageError> {
        let key = self.redis.keys().session(session);
        let last = self.redis.script(&LAST).key(&key).key(self.redis.keys().qr(session));
        let (at, body, qr): (Vec<u8>, Vec<u8>, Vec<u8>) =
            self.redis.about(&key, Some(session), last.run().await)?;
        if at.is_empty() {
            return Ok(None);
        }
        let event = std::str::from_utf8(&at).ok().and_then(|at| parse(session, at, &body, &qr));
        if event.is_none() {
            self.redis.damage().note(&key, field::EVENT, Some(session), "it is no event");
        } else {
            self.redis.damage().is_whole(&key, "event");
        }
        event.map(|event| Some(Arc::new(event))).ok_or(StorageError::Corrupt)
    }
}

#[async_trait]
impl EventLog for RedisLog {
    async fn append(&self, event: Arc<Event>) -> Result<(), AppendError> {
        if event.at.seq == 1 {
            self.logs.add(&event.session).await?;
        }
        let queued = self.queue(&event.session, event.at.seq == 1).await?;
        self.put(&event, event.at.epoch, false).await?;
        if queued {
            self.wake(&event.session);
        }
        Ok(())
    }

    async fn read_others(&self, session: &SessionId) -> Result<LogTail, StorageError> {
        self.read(session).await
    }

    async fn read(&self, session: &SessionId) -> Result<LogTail, StorageError> {
        let Part { mut events, cut } = self.part(session, None).await?;
        // The oldest that is kept says only where the log was cut.
        events.retain(|event| cut.is_none_or(|cut| event.at > cut));
        if events.is_empty() && cut.is_some() {
            // The end is damaged; the hash has the same event once more.
            let last = self.noted_last(session).await?.filter(|last| Some(last.at) >= cut);
            events.push(last.ok_or(StorageError::Corrupt)?);
            let before = events[0].at;
            return Ok(LogTail {
                events,
                trimmed: Some(Cursor { seq: before.seq.saturating_sub(1), ..before }),
            });
        }
        Ok(LogTail { events, trimmed: cut })
    }

    async fn after(&self, session: &SessionId, after: Option<Cursor>) -> Result<LogTail, StorageError> {
        let Part { events, cut } = self.part(session, after).await?;
        Ok(LogTail { events, trimmed: cut })
    }

    fn follow(&self, session: SessionId, after: Option<Cursor>) -> BoxStream<'static, Followed> {
        follow::follow(self, session, after).boxed()
    }

    fn follow_all(&self) -> BoxStream<'static, Appended> {
        follow::follow_all(self).boxed()
    }

    async fn restore(
        &self,
        session: &SessionId,
        epoch: u64,
        events: &[Arc<Event>],
    ) -> Result<(), AppendError> {
        self.logs.add(session).await?;
        let queued = self.queue(session, true).await?;
        let end = self.last(session).await?.map(|event| event.at);
        for event in events.iter().filter(|event| end.is_none_or(|end| event.at > end)) {
            self.put(event, epoch, true).await?;
        }
        if queued {
            self.wake(session);
        }
        Ok(())
    }

    async fn last(&self, session: &SessionId) -> Result<Option<Arc<Event>>, StorageError> {
        match self.noted_last(session).await {
            // The log has the same event once more.
            Err(StorageError::Corrupt) => {
                let last = self.part(session, None).await?.events.pop();
                last.map(Some).ok_or(StorageError::Corrupt)
            }
            last => last,
        }
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StorageError> {
        let keys = self.redis.keys();
        let forget = self.redis.script(&FORGET).key(keys.session(session)).key(keys.log(session));
        let forget = forget.key(keys.qr(session)).key(keys.hooks(session)).arg(keys.live(session));
        forget.run::<()>().await?;
        if let Some(queue) = &self.queue {
            queue.forget(session);
        }
        self.logs.remove(session).await
    }

    /// Nothing to do: Redis lets the string of a QR go by itself.
    async fn blank_expired(&self) -> Result<(), StorageError> {
        Ok(())
    }

    async fn sessions(&self) -> Result<Vec<SessionId>, StorageError> {
        self.logs.all().await
    }
}

/// An event as a log in Redis keeps it: without the string of a QR.
pub(crate) fn kept(event: &Event) -> String {
    match &event.kind {
        Kind::Qr(qr) => blank(event, qr).to_log(),
        _ => event.to_log(),
    }
}

fn blank(event: &Event, qr: &Qr) -> Event {
    let kind = Kind::Qr(Qr { qr_string: String::new(), ..qr.clone() });
    Event::new(event.session.clone(), event.at, event.time, kind, event.state.clone())
}

fn id_of(entry: &str) -> Result<Cursor, StorageError> {
    entry.parse().map_err(|_| StorageError::Corrupt)
}

/// An entry of a log, where it is one; `qr` is `<id> <string>` of the one QR that still has its string.
fn parse(session: &SessionId, id: &str, body: &[u8], qr: &[u8]) -> Option<Event> {
    let at: Cursor = id.parse().ok().filter(|at: &Cursor| at.epoch <= Cursor::LAST_EPOCH)?;
    let mut event = Event::from_log(session.clone(), at, std::str::from_utf8(body).ok()?).ok()?;
    if let Kind::Qr(kept) = &mut event.kind
        && let Some((of, string)) = std::str::from_utf8(qr).ok().and_then(|qr| qr.split_once(' '))
        && of == id
    {
        string.clone_into(&mut kept.qr_string);
    }
    Some(event)
}
