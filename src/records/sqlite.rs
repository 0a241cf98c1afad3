//! The records of one replica: rows of the server's one SQLite file, and every session is always ours.
//!
//! `server` puts [`SCHEMA`] into the list of migrations.

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, Transaction, params};
use tokio::sync::watch;

use super::{
    Created, IdempotencyKey, Judgement, KEY_LIFE, Record, Records, RecordsError, SessionLimits, epoch, moment,
};
use crate::event::Time;
use crate::id::SessionId;
use crate::proxy::ProxyUrl;
use crate::receiver::OwnReceiver;
use crate::storage::sqlite::Sqlite;

/// The first schema of this module. Times are Unix milliseconds.
pub(crate) const SCHEMA: &str = "
    CREATE TABLE session (
        id TEXT PRIMARY KEY,
        user TEXT NOT NULL,
        created INTEGER NOT NULL,
        device_name TEXT,
        metadata TEXT,            -- a JSON object
        epoch INTEGER NOT NULL,
        claimed INTEGER NOT NULL,
        deleted INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX session_user ON session (user) WHERE claimed;
    CREATE TABLE idempotency (
        key TEXT PRIMARY KEY,
        body BLOB NOT NULL,       -- SHA-256
        session TEXT NOT NULL,
        created INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE beat (id INTEGER PRIMARY KEY CHECK (id = 0), at INTEGER NOT NULL) STRICT;
";

/// Of the deployment itself.
pub(crate) const SECRET_SCHEMA: &str = "
    CREATE TABLE token_secret (id INTEGER PRIMARY KEY CHECK (id = 0), secret TEXT NOT NULL) STRICT;
";

/// A session's own proxy: a URL, with user and password.
pub(crate) const PROXY_SCHEMA: &str = "ALTER TABLE session ADD COLUMN proxy TEXT;";

/// A session's own receiver of webhooks: JSON, [`OwnReceiver`].
pub(crate) const WEBHOOK_SCHEMA: &str = "ALTER TABLE session ADD COLUMN webhook TEXT;";

const INSERT: &str =
    "INSERT INTO session (id, user, created, device_name, metadata, epoch, claimed, proxy, webhook)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?8)";
const ALL: &str =
    "SELECT id, created, device_name, metadata, epoch, claimed, deleted, proxy, webhook FROM session";
const OWNERSHIP: &str = "SELECT epoch, claimed FROM session WHERE id = ?1";
const CLAIM: &str = "UPDATE session SET epoch = ?2, claimed = 1 WHERE id = ?1";
const RELEASE: &str = "UPDATE session SET claimed = 0 WHERE id = ?1 AND epoch = ?2";
const DELETE: &str = "UPDATE session SET deleted = ?2, claimed = 1 WHERE id = ?1 AND deleted IS NULL";
const REMOVE: &str = "DELETE FROM session WHERE id = ?1";
const COUNT_ALL: &str = "SELECT count(*) FROM session WHERE claimed";
const COUNT_USER: &str = "SELECT count(*) FROM session WHERE claimed AND user = ?1";
/// A key goes with its session.
const KNOWN_KEY: &str = "SELECT k.body, k.session FROM idempotency k
    JOIN session s ON s.id = k.session AND s.deleted IS NULL WHERE k.key = ?1 AND k.created > ?2";
const KEEP_KEY: &str =
    "INSERT OR REPLACE INTO idempotency (key, body, session, created) VALUES (?1, ?2, ?3, ?4)";
const FORGET_KEYS: &str = "DELETE FROM idempotency WHERE created <= ?1";
const NEW_SECRET: &str = "INSERT OR IGNORE INTO token_secret (id, secret) VALUES (0, ?1)";
const SECRET: &str = "SELECT secret FROM token_secret";
/// A disk may take a few bytes and still have no room for what is to be stored: after a failed write so many are stored for a
/// moment. No client can have sent this key.
const KEEP_FILLER: &str =
    "INSERT OR REPLACE INTO idempotency (key, body, session, created) VALUES ('', zeroblob(65536), '', 0)";
const DROP_FILLER: &str = "DELETE FROM idempotency WHERE key = ''";
const BEAT: &str = "INSERT OR REPLACE INTO beat (id, at) VALUES (0, ?1)";

/// Records in the file.
pub(crate) struct SqliteRecords(Sqlite);

/// What a transaction decided; an error of SQLite undoes it, these do not.
type Decided<T> = rusqlite::Result<Result<T, RecordsError>>;

impl SqliteRecords {
    /// On a file whose migrations include all schemas of this module.
    pub(crate) fn new(sqlite: Sqlite) -> Self {
        Self(sqlite)
    }

    async fn execute(
        &self,
        sql: &'static str,
        values: impl rusqlite::Params + Send + 'static,
    ) -> Result<(), RecordsError> {
        self.0.write(move |tx| tx.prepare_cached(sql)?.execute(values)).await?;
        Ok(())
    }
}

#[async_trait]
impl Records for SqliteRecords {
    async fn create(
        &self,
        record: Record,
        limits: SessionLimits,
        once: Option<IdempotencyKey>,
    ) -> Result<Created, RecordsError> {
        record.check_reads_back()?;
        let create = move |tx: &Transaction<'_>| create(tx, &record, limits, once.as_ref());
        self.0.write(create).await?
    }

    async fn claim(&self, session: &SessionId, limits: SessionLimits) -> Result<u64, RecordsError> {
        let session = session.clone();
        let claim = move |tx: &Transaction<'_>| -> Decided<u64> {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?));
            let ownership = tx.prepare_cached(OWNERSHIP)?.query_row([session.as_str()], row).optional()?;
            let Some((last, claimed)) = ownership else { return Ok(Err(RecordsError::Unknown)) };
            if !claimed && let Some(refusal) = over(tx, session.user_id(), limits)? {
                return Ok(Err(refusal));
            }
            let epoch = Time::now().as_millis().max(last + 1);
            tx.prepare_cached(CLAIM)?.execute(params![session.as_str(), epoch])?;
            Ok(Ok(epoch.cast_unsigned()))
        };
        self.0.write(claim).await?
    }

    async fn release(&self, session: &SessionId, epoch: u64) -> Result<(), RecordsError> {
        self.execute(RELEASE, (session.as_str().to_owned(), epoch.cast_signed())).await
    }

    async fn delete(&self, session: &SessionId, at: Time) -> Result<(), RecordsError> {
        self.execute(DELETE, (session.as_str().to_owned(), at.as_millis())).await
    }

    async fn remove(&self, session: &SessionId) -> Result<(), RecordsError> {
        self.execute(REMOVE, (session.as_str().to_owned(),)).await
    }

    async fn all(&self) -> Result<Vec<Record>, RecordsError> {
        let rows = self
            .0
            .read(|tx| tx.prepare_cached(ALL)?.query_map([], Row::read)?.collect::<Result<Vec<_>, _>>());
        let record = |row: Row| match row.parse() {
            Ok(record) => {
                if record.proxy.as_ref().is_some_and(|proxy| proxy.parse().is_err()) {
                    // It goes no other way than its own, so it waits and says why. A person has to see to it all the same.
                    let (id, why) = (&record.session, "its proxy cannot be read");
                    self.0.damage().note("session", id.as_str(), Some(id), why);
                }
                Some(record)
            }
            Err(Unreadable { key, session, why }) => {
                self.0.damage().note("session", &key, session.as_ref(), why);
                None
            }
        };
        Ok(rows.await?.into_iter().filter_map(record).collect())
    }

    async fn forget_keys(&self) -> Result<(), RecordsError> {
        self.execute(FORGET_KEYS, (key_horizon(),)).await
    }

    async fn token_secret(&self, new: &str) -> Result<String, RecordsError> {
        let stored = |tx: &Transaction<'_>| tx.prepare_cached(SECRET)?.query_row([], |row| row.get(0));
        // Where there is one nothing needs to be written, which may not be possible just now.
        if let Some(secret) = self.0.read(move |tx| stored(tx).optional()).await? {
            return Ok(secret);
        }
        let new = new.to_owned();
        let secret = move |tx: &Transaction<'_>| {
            tx.prepare_cached(NEW_SECRET)?.execute([new])?;
            stored(tx)
        };
        Ok(self.0.write(secret).await?)
    }

    async fn check(&self) -> Result<(), RecordsError> {
        if self.0.health().is_failing() {
            self.execute(KEEP_FILLER, []).await?;
            self.execute(DROP_FILLER, []).await?;
        }
        let (sqlite, now) = (self.0.clone(), Time::now().as_millis());
        // On the thread that writes: a disk that hangs must hold up nobody else.
        let beat = move |tx: &Transaction<'_>| {
            tx.prepare_cached(BEAT)?.execute([now])?;
            Ok(sqlite.check_place())
        };
        self.0.write(beat).await??;
        self.0.health().stored();
        Ok(())
    }

    fn health(&self) -> watch::Receiver<Judgement> {
        self.0.health().watch()
    }
}

fn create(
    tx: &Transaction<'_>,
    record: &Record,
    limits: SessionLimits,
    once: Option<&IdempotencyKey>,
) -> Decided<Created> {
    if let Some(once) = once {
        let row = |row: &rusqlite::Row<'_>| {
            let session = String::from_utf8_lossy(row.get_ref(1)?.as_bytes().unwrap_or_default());
            Ok((row.get::<_, Vec<u8>>(0)?, session.into_owned()))
        };
        let known =
            tx.prepare_cached(KNOWN_KEY)?.query_row(params![once.key, key_horizon()], row).optional()?;
        if let Some((body, session)) = known {
            // One that is damaged is as good as none: the row that follows takes its place.
            if let Some(before) = session.parse().ok().filter(|_| body.len() == once.body.len()) {
                let same = body == once.body;
                return Ok(if same { Ok(Created::Existing(before)) } else { Err(RecordsError::KeyReused) });
            }
        }
    }
    let user = record.session.user_id();
    if let Some(refusal) = over(tx, user, limits)? {
        return Ok(Err(refusal));
    }
    let (id, created) = (record.session.as_str(), record.created.as_millis());
    let metadata = record.metadata.as_ref().map(|map| serde_json::json!(map).to_string());
    // The first epoch is the time of creation: what a claim would give.
    let proxy = record.proxy.as_ref().map(ProxyUrl::reveal);
    let webhook = record.webhook.as_ref().map(|webhook| serde_json::json!(webhook).to_string());
    let values = params![id, user, created, record.device_name, metadata, created, proxy, webhook];
    tx.prepare_cached(INSERT)?.execute(values)?;
    if let Some(once) = once {
        tx.prepare_cached(KEEP_KEY)?.execute(params![once.key, once.body, id, created])?;
    }
    Ok(Ok(Created::New(created.cast_unsigned())))
}

/// Why there is no room for one more session of this user.
fn over(tx: &Transaction<'_>, user: &str, limits: SessionLimits) -> rusqlite::Result<Option<RecordsError>> {
    let count = |sql, params: &[&dyn rusqlite::ToSql]| {
        tx.prepare_cached(sql)?.query_row(params, |row| row.get::<_, u32>(0))
    };
    if count(COUNT_USER, &[&user])? >= limits.user {
        return Ok(Some(RecordsError::UserLimit(limits.user)));
    }
    Ok((count(COUNT_ALL, &[])? >= limits.all).then_some(RecordsError::Limit(limits.all)))
}

/// Keys from before this moment are forgotten.
fn key_horizon() -> i64 {
    let life = i64::try_from(KEY_LIFE.as_millis()).unwrap_or(i64::MAX);
    Time::now().as_millis() - life
}

/// A record as it stands in the file. Texts are bytes: the file holds whatever it is given, and one that is no UTF-8 must
/// not hide the other rows.
struct Row {
    session: Vec<u8>,
    created: i64,
    device_name: Option<Vec<u8>>,
    metadata: Option<Vec<u8>>,
    epoch: i64,
    claimed: i64,
    deleted: Option<i64>,
    proxy: Option<Vec<u8>>,
    webhook: Option<Vec<u8>>,
}

/// A row that is no record.
struct Unreadable {
    key: String,
    session: Option<SessionId>,
    why: &'static str,
}

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let bytes = |column| -> rusqlite::Result<Option<Vec<u8>>> {
            Ok(row.get_ref(column)?.as_bytes_or_null().ok().flatten().map(<[u8]>::to_vec))
        };
        Ok(Self {
            session: bytes(0)?.unwrap_or_default(),
            created: row.get(1)?,
            device_name: bytes(2)?,
            metadata: bytes(3)?,
            epoch: row.get(4)?,
            claimed: row.get(5)?,
            deleted: row.get(6)?,
            proxy: bytes(7)?,
            webhook: bytes(8)?,
        })
    }

    fn parse(self) -> Result<Record, Unreadable> {
        let key = String::from_utf8_lossy(&self.session).into_owned();
        let Ok(session) = key.parse::<SessionId>() else {
            return Err(Unreadable { key, session: None, why: "its id is not a session id" });
        };
        let id = session.clone();
        self.parts(session).map_err(|why| Unreadable { key, session: Some(id), why })
    }

    fn parts(self, session: SessionId) -> Result<Record, &'static str> {
        let text = |bytes: Option<Vec<u8>>, why| bytes.map(String::from_utf8).transpose().map_err(|_| why);
        let metadata = self.metadata.map(|text| serde_json::from_slice(&text)).transpose();
        let webhook = self.webhook.map(|text| serde_json::from_slice::<OwnReceiver>(&text)).transpose();
        Ok(Record {
            session,
            created: moment(self.created).ok_or("the time of its creation is none")?,
            device_name: text(self.device_name, "its device's name is not text")?,
            proxy: text(self.proxy, "its proxy is not text")?.map(ProxyUrl::new),
            webhook: webhook.map_err(|_| "its receiver of webhooks is none")?,
            metadata: metadata.map_err(|_| "its metadata is not a JSON object")?,
            epoch: epoch(self.epoch).ok_or("its epoch is none")?,
            claimed: self.claimed != 0,
            deleted: match self.deleted {
                Some(deleted) => Some(moment(deleted).ok_or("the time of its deletion is none")?),
                None => None,
            },
        })
    }
}
