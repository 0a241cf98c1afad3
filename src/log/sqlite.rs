//! The log of one replica: each log is rows of the server's one SQLite file.
//!
//! An id that is not greater than the last is refused, as a Redis Stream refuses it: a stale owner cannot write.
//! `server` puts [`SCHEMA`] into the list of migrations.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use rusqlite::{OptionalExtension as _, Transaction, params};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use super::{AppendError, Appended, EventLog, Followed, LogTail, Queueing};
use crate::event::{Cursor, Event, Kind, Reason, Time};
use crate::id::SessionId;
use crate::storage::StorageError;
use crate::storage::sqlite::Sqlite;

/// The first schema of this module. `expires` is set while the row holds the string of a QR.
pub(crate) const SCHEMA: &str = "
    CREATE TABLE event (
        session TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        expires INTEGER,     -- Unix time in milliseconds
        body TEXT NOT NULL,  -- JSON, as Event::to_log writes it
        PRIMARY KEY (session, epoch, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX event_expires ON event (expires) WHERE expires IS NOT NULL;
";

const LAST: &str = "SELECT epoch, seq FROM event WHERE session = ?1 ORDER BY epoch DESC, seq DESC LIMIT 1";
// A damaged event does not count as a login.
const WAS_LINKED: &str =
    "SELECT coalesce(CASE WHEN json_valid(body) THEN json_extract(body, '$.state.linked') END, 0) IS 1 FROM event
    WHERE session = ?1 ORDER BY epoch DESC, seq DESC LIMIT 1";
const INSERT: &str = "INSERT INTO event (session, epoch, seq, expires, body) VALUES (?1, ?2, ?3, ?4, ?5)";
const READ: &str =
    "SELECT epoch, seq, body FROM event WHERE session = ?1 ORDER BY epoch DESC, seq DESC LIMIT ?2";
const AFTER: &str = "SELECT epoch, seq, body FROM event WHERE session = ?1 AND (epoch, seq) > (?2, ?3)
    ORDER BY epoch, seq";
const OLDEST: &str = "SELECT epoch, seq, (SELECT count(*) FROM event WHERE session = ?1) FROM event
    WHERE session = ?1 ORDER BY epoch, seq LIMIT 1";
/// The session is due at once. The tables are those of `webhooks` and `records`.
const QUEUE: &str = "INSERT OR REPLACE INTO webhook_due (session, due) SELECT ?1, ?2
    WHERE ?3 OR EXISTS (SELECT 1 FROM session WHERE id = ?1 AND webhook IS NOT NULL)";
const TRIM: &str = "DELETE FROM event WHERE session = ?1 AND (epoch, seq) <=
    (SELECT epoch, seq FROM event WHERE session = ?1 ORDER BY epoch DESC, seq DESC LIMIT 1 OFFSET ?2)";
const FORGET: &str = "DELETE FROM event WHERE session = ?1";
const BLANK: &str = "UPDATE event SET expires = NULL, body = json_set(body, '$.kind.data.qrString', '')
    WHERE expires <= ?1 AND json_valid(body)";
const SESSIONS: &str = "SELECT DISTINCT session FROM event";

/// How many events may wait for somebody who follows all logs.
const WAITING: usize = 1024;

/// A log is trimmed once in so many events, not at each.
const TRIM_EVERY: u64 = 16;

/// Logs in the file.
pub(crate) struct SqliteLog {
    sqlite: Sqlite,
    /// How many events a log keeps, and one more, which says where it was cut.
    keep: u32,
    /// Every event that was appended.
    all: broadcast::Sender<Arc<Event>>,
    queueing: Option<Queueing>,
}

impl SqliteLog {
    /// On a file whose migrations include [`SCHEMA`]; each log keeps its last `history` events.
    pub(crate) fn new(sqlite: Sqlite, history: u32) -> Self {
        let all = broadcast::Sender::new(WAITING);
        Self { sqlite, keep: history.saturating_add(1), all, queueing: None }
    }

    /// The same, for webhooks.
    pub(crate) fn queueing(self, queueing: Queueing) -> Self {
        Self { queueing: Some(queueing), ..self }
    }

    /// A row as an event, or where the damaged row stands.
    fn event(&self, session: &SessionId, row: Row) -> Result<Arc<Event>, Cursor> {
        let (epoch, seq, body) = row;
        let cursor = at(epoch, seq);
        let body = std::str::from_utf8(&body).ok();
        let event = body.and_then(|body| Event::from_log(session.clone(), cursor, body).ok());
        let why = match &event {
            None => "its body is not an event",
            // An epoch is a time in milliseconds, and ids rise: nothing could follow this one.
            Some(_) if cursor.epoch > Cursor::LAST_EPOCH || seq < 1 => "its number is none",
            Some(_) => return event.map(Arc::new).ok_or(cursor),
        };
        self.sqlite.damage().note("event", &format!("{session} {epoch}-{seq}"), Some(session), why);
        Err(cursor)
    }
}

#[async_trait]
impl EventLog for SqliteLog {
    async fn append(&self, event: Arc<Event>) -> Result<(), AppendError> {
        let expires = match &event.kind {
            Kind::Qr(qr) => Some(qr.expires_at.as_millis()),
            _ => None,
        };
        let body = event.to_log();
        let (keep, queueing, appended) = (self.keep, self.queueing.clone(), event.clone());
        let every = queueing.as_ref().map(|queueing| queueing.every);
        let append = move |tx: &Transaction<'_>| {
            let session = event.session.as_str();
            let last = last(tx, session)?;
            if last.is_some_and(|last| event.at <= last) {
                return Ok(None);
            }
            let milestone = is_milestone(tx, &event)?;
            let (epoch, seq) = (event.at.epoch.cast_signed(), event.at.seq.cast_signed());
            tx.prepare_cached(INSERT)?.execute(params![session, epoch, seq, expires, body])?;
            if event.at.seq.is_multiple_of(TRIM_EVERY) {
                tx.prepare_cached(TRIM)?.execute(params![session, keep])?;
            }
            let queued = match every {
                Some(every) => tx.prepare_cached(QUEUE)?.execute(params![
                    session,
                    Time::now().as_millis() as f64,
                    every
                ])?,
                None => 0,
            };
            Ok(Some((milestone, queued > 0)))
        };
        let (milestone, queued) = self.sqlite.write(append).await?.ok_or(AppendError::Fenced)?;
        if let Some(queueing) = queueing.filter(|_| queued) {
            queueing.wake(&appended.session);
        }
        // Nobody may be following.
        let _ = self.all.send(appended);
        if milestone {
            // The event is on the disk in any case; where this fails the log says so, and it is tried again.
            let _ = self.sqlite.milestone().await;
        }
        Ok(())
    }

    fn follow(&self, _: SessionId, _: Option<Cursor>) -> BoxStream<'static, Followed> {
        stream::pending().boxed()
    }

    fn follow_all(&self) -> BoxStream<'static, Appended> {
        let appended = BroadcastStream::new(self.all.subscribe());
        let heard = appended.map(|event| event.map_or(Appended::Missed, Appended::Event));
        stream::once(async { Appended::Missed }).chain(heard).boxed()
    }

    /// This file loses nothing that it said yes to.
    async fn restore(&self, _: &SessionId, _: u64, _: &[Arc<Event>]) -> Result<(), AppendError> {
        Ok(())
    }

    async fn last(&self, session: &SessionId) -> Result<Option<Arc<Event>>, StorageError> {
        Ok(self.read(session).await?.events.pop())
    }

    async fn read_others(&self, _: &SessionId) -> Result<LogTail, StorageError> {
        Ok(LogTail::default())
    }

    async fn read(&self, session: &SessionId) -> Result<LogTail, StorageError> {
        let (name, keep) = (session.clone(), self.keep);
        let read = move |tx: &Transaction<'_>| {
            let mut statement = tx.prepare_cached(READ)?;
            statement.query_map(params![name.as_str(), keep], stored)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut rows: Vec<Row> = self.sqlite.read(read).await?;
        let cut = u32::try_from(rows.len()).is_ok_and(|rows| rows == self.keep);
        let oldest = if cut { rows.pop().map(|(epoch, seq, _)| at(epoch, seq)) } else { None };
        let events: Vec<_> = rows.into_iter().map(|row| self.event(session, row)).collect();
        LogTail::read_back(events, oldest)
    }

    async fn after(&self, session: &SessionId, after: Option<Cursor>) -> Result<LogTail, StorageError> {
        let (name, from) = (session.clone(), after.unwrap_or(Cursor { epoch: 0, seq: 0 }));
        let read = move |tx: &Transaction<'_>| {
            let from = params![name.as_str(), from.epoch.cast_signed(), from.seq.cast_signed()];
            let rows =
                tx.prepare_cached(AFTER)?.query_map(from, stored)?.collect::<rusqlite::Result<Vec<_>>>()?;
            let oldest = |row: &rusqlite::Row<'_>| Ok((cursor(row)?, row.get::<_, u32>(2)?));
            Ok((rows, tx.prepare_cached(OLDEST)?.query_row([name.as_str()], oldest).optional()?))
        };
        let (rows, oldest): (Vec<Row>, _) = self.sqlite.read(read).await?;
        let mut log = LogTail { events: Vec::new(), trimmed: None };
        // Trimmed now and then, never below this.
        log.trimmed = oldest.filter(|(_, count)| *count >= self.keep).map(|(oldest, _)| oldest);
        for row in rows {
            match self.event(session, row) {
                Ok(event) => log.events.push(event),
                Err(damaged) => {
                    log.events.clear();
                    log.trimmed = Some(damaged);
                }
            }
        }
        Ok(log)
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StorageError> {
        let session = session.clone();
        self.sqlite.write(move |tx| tx.prepare_cached(FORGET)?.execute([session.as_str()])).await?;
        Ok(())
    }

    async fn blank_expired(&self) -> Result<(), StorageError> {
        let now = Time::now().as_millis();
        self.sqlite.write(move |tx| tx.prepare_cached(BLANK)?.execute([now])).await?;
        Ok(())
    }

    async fn sessions(&self) -> Result<Vec<SessionId>, StorageError> {
        self.sqlite.session_ids("event", SESSIONS).await
    }
}

/// Whether the event is the end of a link or of an unlink: afterwards an older database is another account's, or nobody's.
fn is_milestone(tx: &Transaction<'_>, event: &Event) -> rusqlite::Result<bool> {
    Ok(match &event.kind {
        Kind::Authenticated { .. } => true,
        Kind::Ready { .. } => {
            let was_linked =
                tx.prepare_cached(WAS_LINKED)?.query_row([event.session.as_str()], |row| row.get(0));
            !was_linked.optional()?.unwrap_or(false)
        }
        Kind::Disconnected(end) => matches!(end.reason, Reason::LoggedOut | Reason::Deleted),
        _ => false,
    })
}

/// Epoch, number and body of an event. Bytes: a text may hold any, and one that is no UTF-8 must not hide the others.
type Row = (i64, i64, Vec<u8>);

fn stored(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok((row.get(0)?, row.get(1)?, row.get_ref(2)?.as_bytes().unwrap_or_default().to_vec()))
}

/// The id of a session's last event. `webhooks` reads it in a transaction of its own.
pub(crate) fn last(tx: &Transaction<'_>, session: &str) -> rusqlite::Result<Option<Cursor>> {
    tx.prepare_cached(LAST)?.query_row([session], cursor).optional()
}

fn cursor(row: &rusqlite::Row<'_>) -> rusqlite::Result<Cursor> {
    Ok(at(row.get(0)?, row.get(1)?))
}

fn at(epoch: i64, seq: i64) -> Cursor {
    Cursor { epoch: epoch.cast_unsigned(), seq: seq.cast_unsigned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Disconnected, Qr, State};
    use crate::storage::sqlite::SchemaStep;

    const MIGRATIONS: &[SchemaStep] = &[SchemaStep::needed(1, SCHEMA)];

    fn id() -> SessionId {
        "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11".parse().unwrap()
    }

    fn event(epoch: u64, seq: u64, kind: Kind) -> Arc<Event> {
        let now = Time::now();
        Arc::new(Event::new(id(), Cursor { epoch, seq }, now, kind, State::initializing(now, None)))
    }

    fn lost(epoch: u64, seq: u64) -> Arc<Event> {
        event(epoch, seq, Kind::Disconnected(Disconnected::new(Reason::ConnectionLost, None)))
    }

    async fn ids(log: &SqliteLog) -> (Vec<String>, Option<String>) {
        let tail = log.read(&id()).await.unwrap();
        (
            tail.events.iter().map(|event| event.at.to_string()).collect(),
            tail.trimmed.map(|at| at.to_string()),
        )
    }

    #[tokio::test]
    async fn ids_rise_or_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteLog::new(Sqlite::open(&folder.path().join("db"), MIGRATIONS).unwrap(), 10);
        for (epoch, seq, taken) in [
            (7, 1, true),
            (7, 1, false),
            (7, 2, true),
            (9, 1, true),
            (7, 3, false),
            (8, 9, false),
            (9, 2, true),
        ] {
            let answer = log.append(lost(epoch, seq)).await;
            assert_eq!(answer.is_ok(), taken, "{epoch}-{seq}");
            assert!(taken || matches!(answer, Err(AppendError::Fenced)));
        }
        assert_eq!(ids(&log).await, (["7-1", "7-2", "9-1", "9-2"].map(String::from).to_vec(), None));
        assert_eq!(log.sessions().await.unwrap(), [id()]);
        log.forget(&id()).await.unwrap();
        assert!(log.sessions().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_log_keeps_its_end_and_says_where_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&folder.path().join("db"), MIGRATIONS).unwrap();
        let log = SqliteLog::new(sqlite.clone(), 10);
        for seq in 1..=100 {
            log.append(lost(7, seq)).await.unwrap();
        }
        let (events, trimmed) = ids(&log).await;
        assert_eq!((events.len(), events[0].as_str(), trimmed.as_deref()), (10, "7-91", Some("7-90")));
        let rows =
            sqlite.read(|tx| tx.query_row("SELECT count(*) FROM event", [], |row| row.get::<_, u32>(0)));
        assert!(rows.await.unwrap() < 11 + u32::try_from(TRIM_EVERY).unwrap());
    }

    #[tokio::test]
    async fn an_expired_qr_keeps_its_id_and_loses_its_string() {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteLog::new(Sqlite::open(&folder.path().join("db"), MIGRATIONS).unwrap(), 10);
        for (seq, expires_in) in [(1, -1), (2, 60_000)] {
            let expires_at = Time::from_millis(Time::now().as_millis() + expires_in);
            let qr = Qr { qr_string: "2@secret".into(), expires_at, attempt: 1, max_attempts: 6 };
            log.append(event(7, seq, Kind::Qr(qr))).await.unwrap();
        }
        log.blank_expired().await.unwrap();
        let tail = log.read(&id()).await.unwrap();
        let strings = tail.events.iter().map(|event| match &event.kind {
            Kind::Qr(qr) => qr.qr_string.as_str(),
            other => panic!("{other:?}"),
        });
        assert_eq!(strings.collect::<Vec<_>>(), ["", "2@secret"]);
    }

    #[tokio::test]
    async fn a_damaged_event_hides_what_came_before_it_and_a_damaged_end_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&folder.path().join("db"), MIGRATIONS).unwrap();
        let log = SqliteLog::new(sqlite.clone(), 10);
        for seq in 1..=6 {
            log.append(lost(7, seq)).await.unwrap();
        }
        let spoil = async |what: &'static str| sqlite.write(move |tx| tx.execute(what, [])).await.unwrap();
        spoil("UPDATE event SET body = '' WHERE seq = 2").await;
        spoil("UPDATE event SET body = '{}', expires = 1 WHERE seq = 3").await;
        assert_eq!(
            ids(&log).await,
            (["7-4", "7-5", "7-6"].map(String::from).to_vec(), Some("7-3".to_owned())),
            "a viewer that has seen less than that is told of a gap"
        );
        assert_eq!((sqlite.damage().count(), sqlite.damage().is_about(&id())), (2, true));
        // Neither does one that is no JSON stop those that have expired from losing their strings.
        spoil("UPDATE event SET body = CAST(x'ff' AS TEXT), expires = 1 WHERE seq = 2").await;
        log.blank_expired().await.unwrap();
        spoil("INSERT INTO event (session, epoch, seq, body) VALUES ('nonsense', 1, 1, '')").await;
        assert_eq!(log.sessions().await.unwrap(), [id()]);
        assert!(sqlite.damage().hides_a_session());
        for end in [
            "UPDATE event SET body = '[]' WHERE seq = 6",
            "UPDATE event SET epoch = -1 WHERE seq < 6 OR body = '[]'",
            "UPDATE event SET epoch = 9223372036854775807",
        ] {
            spoil(end).await;
            assert!(matches!(log.read(&id()).await, Err(StorageError::Corrupt)), "{end}");
        }
    }
}
