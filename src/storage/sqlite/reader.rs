//! The thread that reads: one job after the other, each in a transaction of its own on a connection that
//! cannot write.
//!
//! Decides nothing. Started by `Sqlite::open`; ends at [`Order::Close`] or when the last handle is gone.

use std::sync::mpsc::Receiver;

use rusqlite::{Connection, Transaction};
use tokio::sync::oneshot;

use super::{Queued, guarded};
use crate::storage::StorageError;

pub(super) enum Order {
    Job(Box<dyn FnOnce(&mut Connection) + Send>),
    Close(oneshot::Sender<()>),
}

/// A job with the channel for its answer.
pub(super) fn job<T, F>(
    work: F,
    answer: oneshot::Sender<Result<T, StorageError>>,
) -> Box<dyn FnOnce(&mut Connection) + Send>
where
    T: Send + 'static,
    F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
{
    Box::new(move |connection| {
        if answer.is_closed() {
            return;
        }
        let result = guarded(|| {
            let moment = connection.transaction()?;
            work(&moment)
        });
        // The caller has gone. A read has no other effect, so the job is skipped.
        let _ = answer.send(result);
    })
}

pub(super) fn run(mut connection: Connection, orders: &Receiver<Queued<Order>>) {
    while let Ok(Queued(order, place)) = orders.recv() {
        drop(place);
        match order {
            Order::Job(job) => job(&mut connection),
            Order::Close(answer) => {
                drop(connection);
                let _ = answer.send(());
                return;
            }
        }
    }
}
