//! The thread that writes: group commit, the scrubbing of the log, milestones, the last checkpoint.
//!
//! Knows no table except that of `milestone`. Started by `Sqlite::open`; ends at [`Order::Close`] or when the last
//! handle is gone.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::{Queued, WAITING, guarded, milestone};
use crate::storage::StorageError;
use crate::storage::folder::FolderLock;

pub(super) type Answer = oneshot::Sender<Result<(), StorageError>>;

pub(super) enum Order {
    Job(Box<dyn Job>),
    /// A scrub and, if milestones are counted, a milestone.
    Milestone(Answer),
    Close(Answer),
}

/// A caller's closure. It is run first, and answered when the commit has succeeded or failed.
pub(super) trait Job: Send {
    /// Runs the closure. After an error, what it did must be undone.
    fn run(&mut self, transaction: &Transaction<'_>) -> Result<(), StorageError>;
    /// Answers with the closure's own error if it had one, otherwise with the result of the commit.
    fn answer(self: Box<Self>, commit: &Result<(), StorageError>);
}

struct Typed<T, F> {
    work: Option<F>,
    result: Option<Result<T, StorageError>>,
    answer: oneshot::Sender<Result<T, StorageError>>,
}

pub(super) fn job<T, F>(work: F, answer: oneshot::Sender<Result<T, StorageError>>) -> Box<dyn Job>
where
    T: Send + 'static,
    F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
{
    Box::new(Typed { work: Some(work), result: None, answer })
}

impl<T, F> Job for Typed<T, F>
where
    T: Send,
    F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, transaction: &Transaction<'_>) -> Result<(), StorageError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        let result = guarded(|| work(transaction));
        let error = result.as_ref().err().cloned();
        self.result = Some(result);
        error.map_or(Ok(()), Err)
    }

    fn answer(self: Box<Self>, commit: &Result<(), StorageError>) {
        let result = match (self.result, commit) {
            (Some(Err(own)), _) => Err(own),
            (_, Err(shared)) => Err(shared.clone()),
            (Some(Ok(value)), Ok(())) => Ok(value),
            // Only a job that has run can be part of a commit.
            (None, Ok(())) => Err(StorageError::Closed),
        };
        // The caller has gone, but its job is committed all the same.
        let _ = self.answer.send(result);
    }
}

pub(super) fn run(
    mut connection: Connection,
    orders: &Receiver<Queued<Order>>,
    scrub_after: Duration,
    folder: Option<&FolderLock>,
) {
    // When the log may first have held bytes that were deleted later.
    let mut unscrubbed: Option<Instant> = None;
    // Whether a milestone is still to be counted.
    let mut owed = false;
    loop {
        let first = match unscrubbed.map(|since| scrub_after.saturating_sub(since.elapsed())) {
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(left) if left.is_zero() => Err(RecvTimeoutError::Timeout),
            Some(left) => orders.recv_timeout(left),
        };
        let Round { jobs, milestones, close, ended } = match first {
            Ok(first) => Round::gather(first, orders),
            Err(RecvTimeoutError::Timeout) => {
                // After a failure the next attempt follows a whole interval later, so that an obstacle does not cause a
                // busy loop.
                unscrubbed = settle(&connection, folder, &mut owed).is_err().then(Instant::now);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => Round { ended: true, ..Round::default() },
        };
        if !jobs.is_empty() {
            unscrubbed.get_or_insert_with(Instant::now);
            commit_group(&mut connection, jobs);
        }
        if !milestones.is_empty() {
            owed = true;
            let outcome = settle(&connection, folder, &mut owed);
            unscrubbed = outcome.is_err().then(Instant::now);
            for answer in milestones {
                let _ = answer.send(outcome.clone());
            }
        }
        if ended {
            let outcome = finish(connection, folder);
            if let Some(answer) = close {
                let _ = answer.send(outcome);
            }
            return;
        }
    }
}

/// Folds the log into the file, and first counts a milestone if one is still to be counted.
fn settle(connection: &Connection, folder: Option<&FolderLock>, owed: &mut bool) -> Result<(), StorageError> {
    let Some(folder) = folder.filter(|_| *owed) else { return scrub(connection) };
    match milestone::raise(connection, folder) {
        Ok(folded) => {
            *owed = false;
            folded
        }
        Err(error) => {
            tracing::warn!(%error, "a link, an unlink or a stop could not be noted yet");
            Err(error)
        }
    }
}

/// All jobs that wait in the queue at one moment.
#[derive(Default)]
struct Round {
    jobs: Vec<Box<dyn Job>>,
    milestones: Vec<Answer>,
    close: Option<Answer>,
    ended: bool,
}

impl Round {
    fn gather(first: Queued<Order>, orders: &Receiver<Queued<Order>>) -> Self {
        let mut round = Self::default();
        let mut next = Some(first);
        // A milestone ends the round, because it is about the jobs before it.
        while let Some(Queued(order, place)) = next {
            drop(place);
            match order {
                Order::Job(job) => round.jobs.push(job),
                Order::Milestone(answer) => round.milestones.push(answer),
                Order::Close(answer) => {
                    round.close = Some(answer);
                    round.ended = true;
                }
            }
            let full = round.jobs.len() >= WAITING || round.ended || !round.milestones.is_empty();
            next = if full { None } else { orders.try_recv().ok() };
        }
        round
    }
}

/// One transaction for all jobs. If SQLite gives the transaction up on the way (a full disk, an I/O error),
/// the jobs that were in it are told so, and those that had not run yet get another.
fn commit_group(connection: &mut Connection, jobs: Vec<Box<dyn Job>>) {
    let mut waiting = jobs.into_iter();
    while !waiting.as_slice().is_empty() {
        let mut ran = Vec::with_capacity(waiting.as_slice().len());
        let outcome = one_transaction(connection, &mut waiting, &mut ran);
        if let Err(error) = &outcome {
            // Each caller logs its own failure, and the storage's health logs it once.
            tracing::debug!(%error, jobs = ran.len(), "a commit failed");
        }
        for job in ran {
            job.answer(&outcome);
        }
    }
}

fn one_transaction(
    connection: &mut Connection,
    waiting: &mut std::vec::IntoIter<Box<dyn Job>>,
    ran: &mut Vec<Box<dyn Job>>,
) -> Result<(), StorageError> {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            // None of these jobs runs; all are answered.
            ran.extend(waiting);
            return Err(error.into());
        }
    };
    for mut job in waiting {
        let outcome = in_savepoint(&transaction, &mut *job);
        ran.push(job);
        outcome?;
    }
    Ok(transaction.commit()?)
}

/// Runs one job in a savepoint. An Err means that the whole transaction is lost; an error of the job itself is returned
/// as Ok.
fn in_savepoint(transaction: &Transaction<'_>, job: &mut dyn Job) -> Result<(), StorageError> {
    transaction.prepare_cached("SAVEPOINT job")?.execute([])?;
    let own = job.run(transaction);
    if transaction.is_autocommit() {
        return Err(own.err().unwrap_or_else(|| StorageError::failed("a job ended the transaction")));
    }
    if own.is_err() {
        transaction.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    transaction.prepare_cached("RELEASE job")?.execute([])?;
    Ok(())
}

/// Folds the log into the file and cuts it to nothing.
pub(super) fn scrub(connection: &Connection) -> Result<(), StorageError> {
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    let outcome = match busy {
        Ok(false) => Ok(()),
        Ok(true) => Err(StorageError::Busy),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = &outcome {
        tracing::warn!(%error, "the log could not be scrubbed yet");
    }
    outcome
}

fn finish(connection: Connection, folder: Option<&FolderLock>) -> Result<(), StorageError> {
    let settled = settle(&connection, folder, &mut true);
    connection.close().map_err(|(_, error)| StorageError::from(error))?;
    settled
}
