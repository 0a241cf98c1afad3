//! Another process that holds SQLite's file, as a backup or a person's `sqlite3` may.

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// The file is locked until this is dropped.
pub(crate) struct Lock {
    release: Option<mpsc::Sender<()>>,
    holder: Option<JoinHandle<()>>,
}

impl Lock {
    /// Locks the database of a data folder.
    pub(crate) async fn of(folder: &Path) -> Self {
        let file = folder.join("qrcast.sqlite");
        let (release, released) = mpsc::channel();
        let (locked, is_locked) = tokio::sync::oneshot::channel();
        let holder = std::thread::spawn(move || {
            let database = rusqlite::Connection::open(file).unwrap();
            database.busy_timeout(super::PATIENCE).unwrap();
            database.execute_batch("BEGIN IMMEDIATE").unwrap();
            locked.send(()).unwrap();
            // An error: whoever wanted the lock is gone.
            let _ = released.recv();
            database.execute_batch("ROLLBACK").unwrap();
        });
        is_locked.await.unwrap();
        Self { release: Some(release), holder: Some(holder) }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.release.take());
        if let Some(holder) = self.holder.take() {
            let _ = holder.join();
        }
    }
}
