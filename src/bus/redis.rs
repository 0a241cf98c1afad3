//! The bus of many replicas: each log is a Redis Stream, each event is also published on its session's channel.
//!
//! An entry's id is the event's own, so Redis itself refuses one that is not greater than the last. One script checks
//! owner and epoch in the session's lease (`ledger` writes it), appends, notes the event as the session's last, and
//! publishes it: whoever hears of an event finds it in the log.
//!
//! The string of a QR is not in the log: an entry of a stream cannot be changed, and the string is a credential. It is
//! in a key of its own that Redis lets go by itself, [`QR_MARGIN`] after the QR has expired. A newer QR replaces it.
//!
//! Keys of a session: `<prefix>{<id>}` (fields `last`, `event`; the rest is `ledger`'s and the device's),
//! `<prefix>{<id>}:log`, `<prefix>{<id>}:qr`; its channel is `<prefix>{<id>}:live`. The channel of all, without
//! QRs: `<prefix>{all}:live`. The index of all logs: `<prefix>{<0-f>}:logs`.

mod follow;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;

pub use self::follow::News;
use super::{AppendError, Bus, Followed, Log};
use crate::event::{Cursor, Event, Kind, Qr};
use crate::id::SessionId;
use crate::storage::StorageError;
use crate::storage::redis::index::Index;
use crate::storage::redis::{Redis, Script};

/// How long the string of an expired QR stays: the clocks of Redis and of an owner may differ by so much.
pub const QR_MARGIN: Duration = Duration::from_secs(60);

static APPEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/append.lua")));
static READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/read.lua")));
static LAST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/last.lua")));
static FORGET: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/forget.lua")));

/// Logs in Redis. Clones are the same.
#[derive(Clone)]
pub struct RedisBus {
    redis: Redis,
    /// This replica, as `ledger` writes it into a lease.
    owner: Arc<str>,
    /// How many events a log keeps, and one more, which says where it was cut.
    keep: u32,
    logs: Index,
}

/// A log from an id on.
struct Part {
    events: Vec<Arc<Event>>,
    /// The oldest kept, when there were older ones.
    cut: Option<Cursor>,
}

impl RedisBus {
    /// For the replica that `ledger` calls `owner`; each log keeps its last `history` events.
    pub fn new(redis: Redis, owner: impl Into<Arc<str>>, history: u32) -> Self {
        let logs = Index::new(redis.clone(), ":logs");
        Self { redis, owner: owner.into(), keep: history.saturating_add(1), logs }
    }

    /// `holes`: events before it may be missing for good.
    async fn put(&self, event: &Event, epoch: u64, holes: bool) -> Result<(), AppendError> {
        let id = event.session.as_str();
        let (body, qr) = match &event.kind {
            Kind::Qr(qr) => (blank(event, qr).to_log(), Some(qr)),
            _ => (event.to_log(), None),
        };
        // Where it has no QR, what is published is what is kept.
        let whole = if qr.is_some() { event.to_log() } else { body.clone() };
        let append = self
            .redis
            .script(&APPEND)
            .key(self.redis.key(id, ""))
            .key(self.log(&event.session))
            .key(self.redis.key(id, ":qr"))
            .arg(&*self.owner)
            .arg(epoch)
            .arg(event.at.to_string())
            .arg(body)
            .arg(self.keep)
            .arg(self.channel(&event.session))
            .arg(format!("{} {whole}", event.at))
            .arg(qr.map_or("", |qr| &qr.qr_string))
            .arg(qr.map_or(0, |qr| qr.expires_at.after(QR_MARGIN).as_millis()))
            .arg(self.everything())
            .arg(id)
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
        type Rows = Vec<(String, (String, String))>;
        let read = self
            .redis
            .script(&READ)
            .key(self.log(session))
            .key(self.redis.key(session.as_str(), ":qr"))
            .arg(after.map_or_else(|| "-".to_owned(), |at| at.to_string()))
            .arg(self.keep);
        let (qr, length, first, rows): (String, u64, String, Rows) = read.run().await?;
        let mut events = Vec::with_capacity(rows.len());
        for (id, (_, body)) in rows {
            events.push(Arc::new(parse(session, &id, &body, &qr)?));
        }
        let cut = length >= u64::from(self.keep);
        let first = if cut { Some(first.parse().map_err(|_| StorageError::Corrupt)?) } else { None };
        Ok(Part { events, cut: first })
    }

    fn log(&self, session: &SessionId) -> String {
        self.redis.key(session.as_str(), ":log")
    }

    /// The channel of the deployment.
    fn everything(&self) -> String {
        self.redis.key("all", ":live")
    }

    fn channel(&self, session: &SessionId) -> String {
        self.redis.key(session.as_str(), ":live")
    }
}

#[async_trait]
impl Bus for RedisBus {
    async fn append(&self, event: Arc<Event>) -> Result<(), AppendError> {
        if event.at.seq == 1 {
            self.logs.add(&event.session).await?;
        }
        self.put(&event, event.at.epoch, false).await
    }

    async fn read(&self, session: &SessionId) -> Result<Log, StorageError> {
        let Part { mut events, cut } = self.part(session, None).await?;
        if cut.is_some() && !events.is_empty() {
            events.remove(0);
        }
        Ok(Log { events, trimmed: cut })
    }

    fn follow(&self, session: SessionId, after: Option<Cursor>) -> BoxStream<'static, Followed> {
        follow::follow(self, session, after).boxed()
    }

    async fn restore(
        &self,
        session: &SessionId,
        epoch: u64,
        events: &[Arc<Event>],
    ) -> Result<(), AppendError> {
        self.logs.add(session).await?;
        let end = self.last(session).await?.map(|event| event.at);
        for event in events.iter().filter(|event| end.is_none_or(|end| event.at > end)) {
            self.put(event, epoch, true).await?;
        }
        Ok(())
    }

    async fn last(&self, session: &SessionId) -> Result<Option<Arc<Event>>, StorageError> {
        let id = session.as_str();
        let last = self.redis.script(&LAST).key(self.redis.key(id, "")).key(self.redis.key(id, ":qr"));
        let (at, body, qr): (String, String, String) = last.run().await?;
        if at.is_empty() {
            Ok(None)
        } else {
            parse(session, &at, &body, &qr).map(|event| Some(Arc::new(event)))
        }
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StorageError> {
        let id = session.as_str();
        let forget = self
            .redis
            .script(&FORGET)
            .key(self.redis.key(id, ""))
            .key(self.log(session))
            .key(self.redis.key(id, ":qr"))
            .arg(self.channel(session));
        forget.run::<()>().await?;
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

fn blank(event: &Event, qr: &Qr) -> Event {
    let kind = Kind::Qr(Qr { qr_string: String::new(), ..qr.clone() });
    Event::new(event.session.clone(), event.at, event.time, kind, event.state.clone())
}

/// An entry of a log; `qr` is `<id> <string>` of the one QR that still has its string.
fn parse(session: &SessionId, id: &str, body: &str, qr: &str) -> Result<Event, StorageError> {
    let at = id.parse().map_err(|_| StorageError::Corrupt)?;
    let mut event = Event::from_log(session.clone(), at, body).map_err(|_| StorageError::Corrupt)?;
    if let Kind::Qr(kept) = &mut event.kind
        && let Some((of, string)) = qr.split_once(' ')
        && of == id
    {
        string.clone_into(&mut kept.qr_string);
    }
    Ok(event)
}
