//! One SQLite file: a thread that writes, a thread that reads, and nothing else that touches it.
//!
//! Not a store: the tables and the queries come from its callers (`records`, `log`, `whatsapp::store`), the
//! schema in one list from `server`, which opens and closes it.
//!
//! - **Writing** is group commit: the thread takes all jobs that wait, runs each in a savepoint of its own
//!   inside one transaction, commits once (`synchronous=FULL`, so an fsync) and only then answers. Ok means:
//!   it is on the disk.
//! - **Reading** has its own connection and never waits for an fsync. A read that begins after an answer sees
//!   what was answered; each read sees one moment.
//! - **Memory** is bounded: [`WAITING`] jobs wait in each queue, further callers wait outside.
//! - **Links are never lost in silence**: see `milestone`.
//! - **Deleted means gone**: `secure_delete` overwrites freed bytes in the pages, but the log still holds
//!   older pages until it is folded in and cut to nothing. That happens at most [`SCRUB_AFTER`] after a write
//!   by itself, and at [`Sqlite::close`]. (What a file system or an SSD keeps
//!   below that, or a backup, is out of reach.)
//! - **The file does not shrink** (`auto_vacuum` is off: it would move pages at every delete): free pages are
//!   zeroed and used for what comes next. Its size is its peak; `VACUUM` by hand, with the server stopped,
//!   returns the rest.

mod copy;
mod milestone;
mod open;
mod reader;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Transaction;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub(crate) use self::copy::CopyError;
pub(crate) use self::milestone::MILESTONE;
pub(crate) use self::open::{OpenError, SchemaStep};
use super::StorageError;
use super::damage::Damage;
use super::folder::{FolderLock, Identity};
use super::health::Health;
use crate::id::SessionId;

/// How many jobs may wait in a queue. A group commit holds at most as many.
pub(crate) const WAITING: usize = 256;

/// The longest time after a write for which the log may hold deleted bytes, provided that no other process reads the
/// file.
pub(crate) const SCRUB_AFTER: Duration = Duration::from_secs(60);

/// A handle on the file; clones share it. End it with [`close`](Self::close); when the last handle is dropped
/// without, the threads finish what was accepted and end by themselves, but nobody waits for them.
#[derive(Clone)]
pub(crate) struct Sqlite(Arc<Inner>);

struct Inner {
    writes: Queue<writer::Order>,
    reads: Queue<reader::Order>,
    health: Health,
    threads: Mutex<Vec<JoinHandle<()>>>,
    damage: Damage,
    /// The parts that live until the storage is closed.
    home: Mutex<Option<Home>>,
}

/// Identifies the files of a held folder, so that a replaced one is noticed.
struct Home {
    lock: Arc<FolderLock>,
    /// The database and its log.
    files: Vec<Identity>,
}

impl Sqlite {
    /// Opens the database, or makes it if there is no such file, and brings its schema up to date. Blocks.
    ///
    /// `steps` are those of all modules in one list, counting 1, 2, 3, ...; see [`OpenError`] for what
    /// is refused.
    #[cfg(test)]
    pub(crate) fn open(path: &Path, steps: &[SchemaStep]) -> Result<Self, OpenError> {
        Self::start(path, steps, SCRUB_AFTER, None)
    }

    /// The same for a database in a folder that this process holds. Its milestones are counted, and a database that has
    /// fewer of them than the note says is refused.
    pub(crate) fn open_in(
        folder: Arc<FolderLock>,
        name: &str,
        steps: &[SchemaStep],
    ) -> Result<Self, OpenError> {
        open::check_noted(&folder.path(name))?;
        Self::start(&folder.path(name), steps, SCRUB_AFTER, Some(folder))
    }

    /// The same without comparing the note: accepts an older copy, and updates the note.
    pub(crate) fn accept_in(
        folder: Arc<FolderLock>,
        name: &str,
        steps: &[SchemaStep],
    ) -> Result<Self, OpenError> {
        Self::start(&folder.path(name), steps, SCRUB_AFTER, Some(folder))
    }

    /// Checks that a database has every milestone that is noted beside it. Changes nothing.
    pub(crate) fn check_noted(path: &Path) -> Result<(), OpenError> {
        open::check_noted(path)
    }

    /// Opens an existing database to read it; another process may serve from it meanwhile. Blocks. Writes are answered
    /// with [`StorageError::Closed`].
    pub(crate) fn open_to_read(path: &Path, steps: &[SchemaStep]) -> Result<Self, OpenError> {
        open::check_noted(path)?;
        let reader = open::open_to_read(path, steps)?;
        let (writes, _) = Queue::new();
        let (reads, orders) = Queue::new();
        let thread = thread::Builder::new().name("sqlite-read".to_owned());
        let thread = thread.spawn(move || reader::run(reader, &orders));
        let threads = vec![thread.map_err(|error| OpenError::io(path, error))?];
        Ok(Self::of(writes, reads, threads, None))
    }

    /// Copies a database to a file that is not there yet; another process may serve from it meanwhile. Blocks.
    pub(crate) fn copy(from: &Path, steps: &[SchemaStep], to: &Path) -> Result<(), CopyError> {
        copy::copy(from, steps, to)
    }

    fn start(
        path: &Path,
        steps: &[SchemaStep],
        scrub_after: Duration,
        folder: Option<Arc<FolderLock>>,
    ) -> Result<Self, OpenError> {
        let (writer, reader) = open::open(path, steps)?;
        let files = || {
            let file = Identity::of(path).map_err(|error| OpenError::io(path, error))?;
            // On a file system without shared memory SQLite has no log.
            Ok([file].into_iter().chain(Identity::of(&open::log_of(path))).collect())
        };
        let home = folder.clone().map(|lock| Ok(Home { lock, files: files()? })).transpose()?;
        if folder.is_some() {
            milestone::prepare(&writer).map_err(|error| OpenError::sql(path, error))?;
        }
        let (writes, write_orders) = Queue::new();
        let (reads, read_orders) = Queue::new();
        let thread = |name: &str, run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(|error| OpenError::io(path, error))
        };
        let threads = vec![
            thread(
                "sqlite-write",
                Box::new(move || writer::run(writer, &write_orders, scrub_after, folder.as_deref())),
            )?,
            thread("sqlite-read", Box::new(move || reader::run(reader, &read_orders)))?,
        ];
        Ok(Self::of(writes, reads, threads, home))
    }

    fn of(
        writes: Queue<writer::Order>,
        reads: Queue<reader::Order>,
        threads: Vec<JoinHandle<()>>,
        home: Option<Home>,
    ) -> Self {
        let (health, damage) = (Health::default(), Damage::default());
        let (threads, home) = (Mutex::new(threads), Mutex::new(home));
        Self(Arc::new(Inner { writes, reads, health, threads, damage, home }))
    }

    /// Checks that the names of the file, its log, its folder and the folder's lock still lead to what was opened. It
    /// opens nothing, because closing a second descriptor of the file would release SQLite's own locks.
    pub(crate) fn check_place(&self) -> Result<(), StorageError> {
        let home = self.0.home.lock();
        let Some(home) = &*home else { return Ok(()) };
        let checked = home.lock.check().and_then(|()| home.files.iter().try_for_each(Identity::check));
        // A start would not find what is stored in the old file.
        self.0.health.wrote(&checked);
        checked
    }

    /// Runs `work` in a transaction; Ok means it is on the disk. An Err of `work` undoes what it did, and
    /// that alone.
    ///
    /// `work` must not begin or end transactions. Once the job is in the queue it is carried out completely, even if
    /// this future is dropped; if it is dropped before, nothing is done.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.0.writes.put(writer::Order::Job(writer::job(work, answer))).await?;
        let outcome = of_thread(answered).await;
        self.0.health.wrote(&outcome);
        outcome
    }

    /// Runs `work` on a connection that cannot write. It sees everything that [`write`](Self::write) has
    /// answered.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.0.reads.put(reader::Order::Job(reader::job(work, answer))).await?;
        let outcome = of_thread(answered).await;
        self.0.health.read(&outcome);
        outcome
    }

    /// The health of the file.
    pub(crate) fn health(&self) -> &Health {
        &self.0.health
    }

    /// The session ids that this query finds in a table. A value that is not one is noted and left out.
    pub(crate) async fn session_ids(
        &self,
        table: &str,
        query: &'static str,
    ) -> Result<Vec<SessionId>, StorageError> {
        let names = move |tx: &Transaction<'_>| {
            // They are read as bytes, because a damaged text may not be UTF-8 and must not stop the others.
            let name = |row: &rusqlite::Row<'_>| Ok(row.get_ref(0)?.as_bytes().unwrap_or_default().to_vec());
            tx.prepare_cached(query)?.query_map([], name)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let names = self.read(names).await?;
        Ok(self.damage().session_ids(table, names, "its session is not a session id"))
    }

    /// The rows that could not be read so far.
    pub(crate) fn damage(&self) -> &Damage {
        &self.0.damage
    }

    /// Protects what was written before the call from being lost unnoticed: folds the log into the file and, if
    /// milestones are counted, counts one. An Err says that the log was not folded in or the milestone not noted; both
    /// are tried again within [`SCRUB_AFTER`].
    pub(crate) async fn milestone(&self) -> Result<(), StorageError> {
        let (answer, answered) = oneshot::channel();
        self.0.writes.put(writer::Order::Milestone(answer)).await?;
        answered.await.unwrap_or(Err(StorageError::Closed))
    }

    /// Finishes what was accepted, folds the log into the file, closes it and ends both threads. Later calls
    /// answer [`StorageError::Closed`]; a second `close` has nothing to do. After an Err everything that was
    /// answered is on the disk nevertheless, but the log may still be there, for the next
    /// [`open`](Self::open).
    pub(crate) async fn close(&self) -> Result<(), StorageError> {
        // The reader closes first: the last connection to close removes the log.
        let (answer, answered) = oneshot::channel();
        self.0.reads.end(reader::Order::Close(answer));
        let _ = answered.await;
        let (answer, answered) = oneshot::channel();
        self.0.writes.end(writer::Order::Close(answer));
        let outcome = answered.await.unwrap_or(Ok(()));
        let threads = std::mem::take(&mut *self.0.threads.lock());
        for thread in threads {
            // Both threads have answered their last order and end at once.
            if thread.join().is_err() {
                return Err(StorageError::failed("a thread of the storage had panicked"));
            }
        }
        // Releases the folder for another process.
        self.0.home.lock().take();
        outcome
    }
}

/// A bounded queue into a thread. Callers wait for a permit asynchronously; the thread blocks until an order comes.
struct Queue<Order> {
    permits: Arc<Semaphore>,
    orders: mpsc::Sender<Queued<Order>>,
}

/// An order and its permit, which is returned when the thread takes the order.
struct Queued<Order>(Order, Option<OwnedSemaphorePermit>);

impl<Order> Queue<Order> {
    fn new() -> (Self, mpsc::Receiver<Queued<Order>>) {
        let (orders, taken) = mpsc::channel();
        (Self { permits: Arc::new(Semaphore::new(WAITING)), orders }, taken)
    }

    async fn put(&self, order: Order) -> Result<(), StorageError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StorageError::Closed)?;
        self.orders.send(Queued(order, Some(permit))).map_err(|_| StorageError::Closed)
    }

    /// Sends the last order. Callers that wait for a permit, and later ones, get an error that the queue is closed.
    fn end(&self, order: Order) {
        self.permits.close();
        // Without a receiver the thread has ended. The caller learns it from the dropped order.
        let _ = self.orders.send(Queued(order, None));
    }
}

/// The answer of one of the two threads.
async fn of_thread<T>(answered: oneshot::Receiver<Result<T, StorageError>>) -> Result<T, StorageError> {
    // A test's paused time would leap while it waits: tokio knows nothing of these threads.
    #[cfg(test)]
    let _still = tests::Still::stand();
    answered.await.unwrap_or(Err(StorageError::Closed))
}

/// Runs a caller's closure. A panic in it fails this job only.
fn guarded<T>(work: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, StorageError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(StorageError::from),
        Err(_) => {
            tracing::error!("a job of the storage panicked; it was undone");
            Err(StorageError::failed("the job panicked"))
        }
    }
}
