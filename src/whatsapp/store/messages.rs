//! Temporary rows: messages sent (kept for a retry) and messages being received, and the sweep of old rows.
//!
//! Half of `ProtocolStore`, which calls it; `msg_secret` uses the sweep too. A row is a time in seconds (8
//! bytes) and the content.
//!
//! The library sweeps every few minutes for each account, mostly in vain. [`Sweep`] remembers the earliest
//! time in the table, so that a sweep with nothing to delete reads nothing.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use wacore::store::error::Result;
use wacore::store::traits::{PendingInboundKey, PendingInboundRow};

use super::engine::Change::{self, Delete, Put};
use super::engine::Table::{Pending, Sent as SentTable};
use super::{DeviceStorage, Key, Table, key, row};

/// The number of sent messages above which old ones are deleted, as in the library's own store ...
const MAX_SENT: usize = 4096;
/// ... down to this number ...
const KEPT_SENT: usize = MAX_SENT * 3 / 4;
/// ... They are counted after this many new ones, so the true bound is the sum of the first number and this one.
const COUNT_EVERY: usize = 1024;

/// How many messages were sent since they were last counted.
#[derive(Default)]
pub(super) struct Sent(AtomicUsize);

/// The earliest time in a table. A value that is too early is harmless; one that is too late cannot occur. It is
/// changed only under the storage's lock.
pub(super) struct Sweep(AtomicI64);

impl Default for Sweep {
    /// The time is not known yet; the first sweep reads it.
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Sweep {
    /// Notes that rows with this time are about to be stored.
    pub(super) fn expect(&self, earliest: Option<i64>) {
        if let Some(time) = earliest {
            self.0.fetch_min(time, Ordering::Relaxed);
        }
    }
}

impl DeviceStorage {
    /// Deletes the rows of a table of stamped rows whose time is not 0 and not after `last`. Returns their number.
    pub(super) async fn sweep(&self, table: Table, sweep: &Sweep, last: i64) -> Result<u32> {
        let lock = self.lock().await;
        if sweep.0.load(Ordering::Relaxed) > last {
            return Ok(0);
        }
        let (mut old, mut earliest) = (Vec::new(), i64::MAX);
        for (key, value) in self.scan(table, Vec::new()).await? {
            match row::unstamp(table, &value)?.0 {
                0 => {}
                time if time <= last => old.push(Delete(table, key)),
                time => earliest = earliest.min(time),
            }
        }
        if old.is_empty() {
            // Set only after the commit, so that the next sweep finds the rows again if the deletion fails.
            sweep.0.store(earliest, Ordering::Relaxed);
        }
        let count = u32::try_from(old.len()).unwrap_or(u32::MAX);
        self.commit(lock, old).await?;
        Ok(count)
    }

    pub(super) async fn keep_sent(&self, chat: &str, id: &str, payload: &[u8]) -> Result<()> {
        let lock = self.lock().await;
        let now = wacore::time::now_secs();
        let mut changes = vec![Put(SentTable, key::pair(chat, id.as_bytes()), row::stamped(now, payload))];
        if self.sent.0.fetch_add(1, Ordering::Relaxed) >= COUNT_EVERY {
            self.sent.0.store(0, Ordering::Relaxed);
            // Deleted before the new row is stored, which must stay.
            changes.splice(0..0, surplus(self.scan(SentTable, Vec::new()).await?)?);
        }
        self.sent_sweep.expect(Some(now));
        self.commit(lock, changes).await
    }

    pub(super) async fn take_sent(&self, chat: &str, id: &str) -> Result<Option<Vec<u8>>> {
        let key = key::pair(chat, id.as_bytes());
        // Read under the lock, so that only one of two callers gets it.
        let lock = self.lock().await;
        let Some(stored) = self.get(SentTable, key.clone()).await? else { return Ok(None) };
        self.commit(lock, vec![Delete(SentTable, key)]).await?;
        Ok(Some(row::unstamp(SentTable, &stored)?.1.to_vec()))
    }

    pub(super) async fn sweep_sent(&self, cutoff: i64) -> Result<u32> {
        // A row exactly as old as the cutoff stays.
        self.sweep(SentTable, &self.sent_sweep, cutoff.saturating_sub(1)).await
    }

    pub(super) async fn keep_pending(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        let lock = self.lock().await;
        let now = wacore::time::now_secs();
        self.pending_sweep.expect((!rows.is_empty()).then_some(now));
        let put = |it: &PendingInboundRow<'_>| {
            Put(Pending, key::triple(it.chat, it.sender, it.id), row::stamped(now, it.message))
        };
        self.commit(lock, rows.iter().map(put).collect()).await
    }

    pub(super) async fn pending(&self, chat: &str, sender: &str, id: &str) -> Result<Option<Vec<u8>>> {
        let stored = self.get(Pending, key::triple(chat, sender, id)).await?;
        stored.map(|stored| Ok(row::unstamp(Pending, &stored)?.1.to_vec())).transpose()
    }

    pub(super) async fn drop_pending(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        let delete = |it: &PendingInboundKey<'_>| Delete(Pending, key::triple(it.chat, it.sender, it.id));
        self.apply(keys.iter().map(delete).collect()).await
    }

    pub(super) async fn sweep_pending(&self, cutoff: i64) -> Result<u32> {
        self.sweep(Pending, &self.pending_sweep, cutoff.saturating_sub(1)).await
    }
}

/// The oldest rows above [`KEPT_SENT`], if there are [`MAX_SENT`] or more.
fn surplus(rows: Vec<(Key, bytes::Bytes)>) -> Result<Vec<Change>> {
    if rows.len() < MAX_SENT {
        return Ok(Vec::new());
    }
    let time = |(key, value): (Key, bytes::Bytes)| Ok((row::unstamp(SentTable, &value)?.0, key));
    let mut by_age = rows.into_iter().map(time).collect::<Result<Vec<_>>>()?;
    by_age.sort_unstable();
    by_age.truncate(by_age.len() - KEPT_SENT);
    Ok(by_age.into_iter().map(|(_, key)| Delete(SentTable, key)).collect())
}
