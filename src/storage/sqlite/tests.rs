//! Tests of the file from outside: what is durable, what is refused, and what remains of deleted bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::timeout;

use super::open::APPLICATION_ID;
use super::{OpenError, SchemaStep, Sqlite, WAITING};
use crate::storage::StorageError;

/// While it lives, paused time stands still: for tokio somebody works.
pub(super) struct Still {
    _over: mpsc::Sender<()>,
}

impl Still {
    /// `None` outside tokio, which has no time to stop.
    pub(super) fn stand() -> Option<Self> {
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let (over, until) = mpsc::channel::<()>();
        // Ends with the sender.
        runtime.spawn_blocking(move || until.recv().is_ok());
        Some(Self { _over: over })
    }
}

/// A folder of its own, gone with the test. Other tests of stores use it too.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("qrcast-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn db(&self) -> PathBuf {
        self.0.join("qrcast.db")
    }

    /// Every byte of every file in it but the index of the log, which holds no content.
    fn bytes(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| !path.to_string_lossy().ends_with("-shm"));
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// Whether a file in it holds these bytes.
    pub(crate) fn holds(&self, needle: &[u8]) -> bool {
        self.bytes().iter().any(|(_, bytes)| bytes.windows(needle.len()).any(|window| window == needle))
    }
}

impl Folder {
    /// As a crash leaves the files: without a close, without the index of the log.
    fn copy_to(&self, copy: &Folder) {
        for (path, bytes) in self.bytes() {
            fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const NOTES: SchemaStep =
    SchemaStep::needed(1, "CREATE TABLE note (id INTEGER PRIMARY KEY, text BLOB NOT NULL) STRICT");
const AUTHORS: SchemaStep = SchemaStep::needed(2, "ALTER TABLE note ADD COLUMN author TEXT");

fn open(folder: &Folder) -> Sqlite {
    Sqlite::open(&folder.db(), &[NOTES]).unwrap()
}

async fn add(sqlite: &Sqlite, id: i64, text: &str) -> Result<usize, StorageError> {
    let text = text.as_bytes().to_vec();
    sqlite.write(move |tx| tx.execute("INSERT INTO note (id, text) VALUES (?1, ?2)", (id, text))).await
}

async fn count(sqlite: &Sqlite) -> i64 {
    sqlite.read(|tx| tx.query_row("SELECT count(*) FROM note", [], |row| row.get(0))).await.unwrap()
}

/// Keeps the writer inside a job until the sender is dropped; all that is written meanwhile makes one group.
async fn hold_writer(sqlite: &Sqlite) -> mpsc::Sender<()> {
    let (let_go, held) = mpsc::channel::<()>();
    let (enter, entered) = tokio::sync::oneshot::channel();
    let holding = sqlite.write(move |_| {
        let _ = enter.send(());
        Ok(held.recv().is_ok())
    });
    // The call is dropped once its job runs.
    tokio::select! {
        _ = holding => panic!("nobody has let go"),
        entered = entered => entered.unwrap(),
    }
    let_go
}

#[tokio::test]
async fn an_answer_means_it_is_in_the_files() {
    let (folder, copy) = (Folder::new(), Folder::new());
    let sqlite = open(&folder);
    add(&sqlite, 1, "kept").await.unwrap();
    assert_eq!(count(&sqlite).await, 1, "a read sees what was answered");
    folder.copy_to(&copy);
    assert_eq!(count(&open(&copy)).await, 1);
}

#[tokio::test]
async fn the_writer_waits_for_the_disk_and_wipes_what_it_frees() {
    let folder = Folder::new();
    let sqlite = open(&folder);
    for (pragma, expected) in
        [("synchronous", 2), ("secure_delete", 1), ("temp_store", 2), ("foreign_keys", 1)]
    {
        let found: i64 =
            sqlite.write(move |tx| tx.pragma_query_value(None, pragma, |row| row.get(0))).await.unwrap();
        assert_eq!(found, expected, "{pragma}");
    }
    let mode: String =
        sqlite.write(|tx| tx.pragma_query_value(None, "journal_mode", |row| row.get(0))).await.unwrap();
    assert_eq!(mode, "wal");
    let refused = sqlite.read(|tx| tx.execute("DELETE FROM note", [])).await;
    assert!(refused.is_err(), "reading cannot write");
}

#[tokio::test]
async fn many_jobs_share_a_commit_and_each_is_answered() {
    let folder = Folder::new();
    let sqlite = open(&folder);
    let let_go = hold_writer(&sqlite).await;
    let jobs: Vec<_> = (0..100).map(|id| add(&sqlite, id, "x")).collect();
    let released = async {
        assert_eq!(count(&sqlite).await, 0, "reading does not wait for the writer");
        drop(let_go);
    };
    let all = async {
        for job in jobs {
            job.await.unwrap();
        }
    };
    tokio::join!(all, released);
    assert_eq!(count(&sqlite).await, 100);
}

#[tokio::test]
async fn a_failing_job_undoes_itself_alone() {
    let folder = Folder::new();
    let sqlite = open(&folder);
    let let_go = hold_writer(&sqlite).await;
    let half = sqlite.write(|tx| {
        tx.execute("INSERT INTO note (id, text) VALUES (10, x'00')", [])?;
        tx.execute("INSERT INTO nothing VALUES (1)", [])
    });
    let panics = sqlite.write(|tx| -> rusqlite::Result<()> {
        tx.execute("INSERT INTO note (id, text) VALUES (11, x'00')", [])?;
        panic!("on purpose")
    });
    let release = async { drop(let_go) };
    let (before, half, panics, after, ()) =
        tokio::join!(add(&sqlite, 1, "a"), half, panics, add(&sqlite, 2, "b"), release);
    before.and(after).unwrap();
    assert!(matches!(half, Err(StorageError::Failed(_))), "{half:?}");
    assert!(matches!(panics, Err(StorageError::Failed(_))), "{panics:?}");
    assert_eq!(count(&sqlite).await, 2);
    let read_panics = sqlite.read(|_| -> rusqlite::Result<()> { panic!("on purpose") }).await;
    assert!(matches!(read_panics, Err(StorageError::Failed(_))));
    assert_eq!(count(&sqlite).await, 2, "both threads live");
    sqlite.close().await.unwrap();
}

#[tokio::test]
async fn a_failed_commit_answers_all_with_its_error() {
    let folder = Folder::new();
    let deferred = SchemaStep::needed(
        2,
        "CREATE TABLE child (note INTEGER REFERENCES note (id) DEFERRABLE INITIALLY DEFERRED)",
    );
    let sqlite = Sqlite::open(&folder.db(), &[NOTES, deferred]).unwrap();
    let let_go = hold_writer(&sqlite).await;
    // Passes its own statement, and fails when the transaction is committed.
    let orphan = sqlite.write(|tx| tx.execute("INSERT INTO child (note) VALUES (99)", []));
    let release = async { drop(let_go) };
    let (good, orphan, ()) = tokio::join!(add(&sqlite, 1, "a"), orphan, release);
    assert!(matches!(good, Err(StorageError::Failed(_))), "{good:?}");
    assert!(matches!(orphan, Err(StorageError::Failed(_))), "{orphan:?}");
    assert_eq!(count(&sqlite).await, 0);
    let ends_it = sqlite.write(|tx| tx.execute_batch("COMMIT")).await;
    assert!(matches!(ends_it, Err(StorageError::Failed(_))), "not allowed, and survived");
    add(&sqlite, 5, "still writes").await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let folder = Folder::new();
    let sqlite = open(&folder);
    let limit = |pages: i64| {
        sqlite.write(move |tx| tx.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())))
    };
    limit(4).await.unwrap();
    let big = "x".repeat(100_000);
    let let_go = hold_writer(&sqlite).await;
    let release = async { drop(let_go) };
    let (full, after, ()) = tokio::join!(add(&sqlite, 1, &big), add(&sqlite, 2, "small"), release);
    assert!(matches!(full, Err(StorageError::Full)), "{full:?}");
    after.unwrap();
    limit(10_000).await.unwrap();
    add(&sqlite, 3, &big).await.unwrap();
    assert_eq!(count(&sqlite).await, 2);
}

#[tokio::test]
async fn a_dropped_call_is_done_whole_or_not_at_all() {
    let folder = Folder::new();
    let sqlite = open(&folder);
    let let_go = hold_writer(&sqlite).await;
    assert!(timeout(Duration::ZERO, add(&sqlite, 1, "accepted")).await.is_err());
    drop(add(&sqlite, 2, "never polled"));
    drop(let_go);
    add(&sqlite, 3, "later").await.unwrap();
    assert_eq!(count(&sqlite).await, 2);
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let folder = Folder::new();
    let sqlite = open(&folder);
    let let_go = hold_writer(&sqlite).await;
    let mut accepted = Vec::new();
    for id in 0..WAITING as i64 {
        let mut job = Box::pin(add(&sqlite, id, "x"));
        assert!(timeout(Duration::ZERO, &mut job).await.is_err());
        accepted.push(job);
    }
    assert_eq!(sqlite.0.writes.permits.available_permits(), 0);
    assert!(timeout(Duration::ZERO, add(&sqlite, 999, "outside")).await.is_err());
    drop(let_go);
    for job in accepted {
        job.await.unwrap();
    }
    assert_eq!(count(&sqlite).await, WAITING as i64, "what was dropped outside was not done");
}

#[tokio::test]
async fn after_close_nothing_is_done_and_the_log_is_gone() {
    let folder = Folder::new();
    let sqlite = open(&folder);
    let let_go = hold_writer(&sqlite).await;
    let other = sqlite.clone();
    let (accepted, closed, ()) =
        tokio::join!(add(&sqlite, 1, "accepted before"), other.close(), async { drop(let_go) });
    accepted.unwrap();
    closed.unwrap();
    assert!(matches!(add(&sqlite, 2, "x").await, Err(StorageError::Closed)));
    assert!(matches!(sqlite.read(|_| Ok(())).await, Err(StorageError::Closed)));
    assert!(matches!(sqlite.milestone().await, Err(StorageError::Closed)));
    sqlite.close().await.unwrap();
    let files: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["qrcast.db"]);
    assert_eq!(count(&open(&folder)).await, 1);
}

#[tokio::test]
async fn dropped_handles_finish_what_was_accepted() {
    let folder = Folder::new();
    let sqlite = open(&folder);
    // Accepted, answered or not.
    let _ = timeout(Duration::ZERO, add(&sqlite, 1, "accepted")).await;
    drop(sqlite);
    let again = open(&folder);
    while count(&again).await == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn after_a_scrub_no_byte_of_a_deleted_value_is_left() {
    let folder = Folder::new();
    let sqlite = open(&folder);
    let (small, big) = ("opensesame".repeat(3), "friendandenter".repeat(2000));
    for id in 0..50 {
        add(&sqlite, id, if id == 25 { &small } else { "other" }).await.unwrap();
    }
    add(&sqlite, 99, &big).await.unwrap();
    assert!(folder.holds(b"opensesame") && folder.holds(b"friendandenter"));
    sqlite.write(|tx| tx.execute("DELETE FROM note WHERE id = 25 OR id = 99", [])).await.unwrap();
    sqlite.write(|tx| tx.execute("UPDATE note SET text = x'00' WHERE id = 24", [])).await.unwrap();
    assert!(folder.holds(b"opensesame"), "in the log until the scrub");
    sqlite.milestone().await.unwrap();
    assert!(!folder.holds(b"opensesame") && !folder.holds(b"friendandenter"));
    assert_eq!(fs::metadata(folder.path().join("qrcast.db-wal")).unwrap().len(), 0);
    assert_eq!(count(&sqlite).await, 49);
}

#[tokio::test]
async fn the_log_is_scrubbed_by_itself() {
    let folder = Folder::new();
    let sqlite = Sqlite::start(&folder.db(), &[NOTES], Duration::from_millis(30), None).unwrap();
    add(&sqlite, 1, "opensesame").await.unwrap();
    sqlite.write(|tx| tx.execute("DELETE FROM note", [])).await.unwrap();
    let gone = async {
        while folder.holds(b"opensesame") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn migrations_run_once_and_in_order() {
    let folder = Folder::new();
    let sqlite = open(&folder);
    add(&sqlite, 1, "old").await.unwrap();
    sqlite.close().await.unwrap();
    for _ in 0..2 {
        let sqlite = Sqlite::open(&folder.db(), &[NOTES, AUTHORS]).unwrap();
        let author: Option<String> =
            sqlite.read(|tx| tx.query_row("SELECT author FROM note", [], |row| row.get(0))).await.unwrap();
        assert_eq!(author, None);
        sqlite.close().await.unwrap();
    }
    let broken = SchemaStep::needed(3, "CREATE TABLE half (id); SELECT nonsense");
    let error = refused(&folder, &[NOTES, AUTHORS, broken]);
    assert!(matches!(error, OpenError::Failed { .. }), "{error}");
    let untouched = Connection::open(folder.db()).unwrap();
    untouched.query_row("SELECT * FROM half", [], |_| Ok(())).unwrap_err();
    let unordered = Sqlite::open(&folder.db(), &[NOTES, NOTES]).err().unwrap();
    assert!(matches!(unordered, OpenError::Order(1)), "{unordered}");
}

fn refused(folder: &Folder, migrations: &[SchemaStep]) -> OpenError {
    Sqlite::open(&folder.db(), migrations).err().unwrap()
}

/// Checks that the file is refused and that none of its bytes has changed.
fn refused_untouched(folder: &Folder) -> OpenError {
    let before = folder.bytes();
    let error = refused(folder, &[NOTES]);
    assert!(error.to_string().contains("qrcast.db"), "{error}");
    for (path, bytes) in before {
        assert!(fs::read(&path).unwrap() == bytes, "{} was changed", path.display());
    }
    error
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let (folder, crashed) = (Folder::new(), Folder::new());
    let sqlite = open(&folder);
    sqlite.write(|tx| tx.pragma_update(None, "user_version", 7)).await.unwrap();
    // The number is in the log only, which nobody may fold in.
    folder.copy_to(&crashed);
    sqlite.close().await.unwrap();
    for folder in [folder, crashed] {
        let error = refused_untouched(&folder);
        assert!(matches!(error, OpenError::Newer { found: 7, known: 1, .. }), "{error}");
        assert!(error.to_string().contains("schema 7, written by a newer version"), "{error}");
    }
}

#[tokio::test]
async fn a_program_without_an_additive_step_uses_the_database_and_the_one_with_it_finds_it_done() {
    const MOODS: SchemaStep = SchemaStep::additive(2, "CREATE TABLE mood (note INTEGER, mood TEXT) STRICT");
    const PLACES: SchemaStep = SchemaStep::needed(3, "CREATE TABLE place (name TEXT) STRICT");
    let folder = Folder::new();
    for (id, steps) in (1..).zip([&[NOTES][..], &[NOTES, MOODS], &[NOTES], &[NOTES, MOODS]]) {
        let sqlite = Sqlite::open(&folder.db(), steps).unwrap();
        add(&sqlite, id, "kept").await.unwrap();
        if steps.len() == 2 {
            sqlite.write(move |tx| tx.execute("INSERT INTO mood VALUES (?1, 'good')", [id])).await.unwrap();
        }
        sqlite.close().await.unwrap();
    }
    let sqlite = Sqlite::open(&folder.db(), &[NOTES, MOODS]).unwrap();
    let moods = sqlite.read(|tx| tx.query_row("SELECT count(*) FROM mood", [], |row| row.get(0))).await;
    assert_eq!((count(&sqlite).await, moods.unwrap()), (4, 2));
    sqlite.close().await.unwrap();
    // A step that every program must know.
    Sqlite::open(&folder.db(), &[NOTES, MOODS, PLACES]).unwrap().close().await.unwrap();
    for steps in [&[NOTES][..], &[NOTES, MOODS]] {
        assert!(matches!(refused(&folder, steps), OpenError::Newer { found: 3, .. }));
    }
}

#[tokio::test]
async fn steps_that_were_needed_once_may_become_additive() {
    let folder = Folder::new();
    Sqlite::open(&folder.db(), &[NOTES, AUTHORS]).unwrap().close().await.unwrap();
    assert!(matches!(refused(&folder, &[NOTES]), OpenError::Newer { found: 2, .. }));
    let additive = SchemaStep::additive(2, AUTHORS.sql);
    Sqlite::open(&folder.db(), &[NOTES, additive]).unwrap().close().await.unwrap();
    Sqlite::open(&folder.db(), &[NOTES]).unwrap().close().await.unwrap();
}

#[tokio::test]
async fn what_is_no_database_of_ours_is_refused() {
    let folder = Folder::new();
    fs::write(folder.db(), "# notes\nnot a database at all").unwrap();
    assert!(matches!(refused_untouched(&folder), OpenError::Foreign { .. }));
    fs::write(folder.db(), "").unwrap();
    assert!(
        matches!(refused_untouched(&folder), OpenError::Damaged { .. }),
        "an empty file is a lost database"
    );
    fs::remove_file(folder.db()).unwrap();
    Connection::open(folder.db()).unwrap().execute_batch("CREATE TABLE theirs (id)").unwrap();
    assert!(matches!(refused_untouched(&folder), OpenError::Foreign { .. }));
}

#[tokio::test]
async fn a_damaged_database_is_refused() {
    let folder = Folder::new();
    let sqlite = open(&folder);
    sqlite
        .write(|tx| {
            let mut insert = tx.prepare("INSERT INTO note (id, text) VALUES (?1, ?2)")?;
            (0..2000).try_for_each(|id| insert.execute((id, b"a row of some length")).map(drop))
        })
        .await
        .unwrap();
    sqlite.close().await.unwrap();
    let whole = fs::read(folder.db()).unwrap();
    assert!(whole.len() > 10 * 4096, "{}", whole.len());
    // The file is shorter than a header, so its kind is unknown.
    fs::write(folder.db(), &whole[..50]).unwrap();
    assert!(matches!(refused_untouched(&folder), OpenError::Foreign { .. }));
    for length in [4096 + 17, whole.len() - 4096, whole.len() - 1] {
        fs::write(folder.db(), &whole[..length]).unwrap();
        let error = refused_untouched(&folder);
        assert!(matches!(error, OpenError::Damaged { .. }), "{length}: {error}");
    }
    let mut scribbled = whole.clone();
    scribbled[3 * 4096..5 * 4096].fill(0x5a);
    fs::write(folder.db(), &scribbled).unwrap();
    let error = refused_untouched(&folder);
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    fs::write(folder.db(), &whole).unwrap();
    open(&folder);
}

#[tokio::test]
async fn a_log_without_its_database_is_refused() {
    let folder = Folder::new();
    let log = folder.path().join("qrcast.db-wal");
    fs::write(&log, "log").unwrap();
    assert!(matches!(refused_untouched(&folder), OpenError::Damaged { .. }));
    fs::remove_file(log).unwrap();
    fs::write(folder.path().join("qrcast.db.new"), "left by a crash").unwrap();
    open(&folder);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = Folder::new();
    let path = folder.path().join("missing").join("qrcast.db");
    let error = Sqlite::open(&path, &[NOTES]).err().unwrap();
    assert!(matches!(error, OpenError::Unwritable { .. }), "{error}");
    assert!(error.to_string().contains("missing/qrcast.db"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    drop(open(&folder).close().await);
    fs::set_permissions(folder.db(), fs::Permissions::from_mode(0o644)).unwrap();
    let sqlite = open(&folder);
    add(&sqlite, 1, "x").await.unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
    }
    let marked: i32 =
        sqlite.read(|tx| tx.pragma_query_value(None, "application_id", |row| row.get(0))).await.unwrap();
    assert_eq!(marked, APPLICATION_ID);
}
