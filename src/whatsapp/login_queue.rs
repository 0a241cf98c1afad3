//! The queue of sessions that log in again. WhatsApp limits logins, and after an outage or at the start of a process
//! all sessions need one at the same time. A session that gets its turn builds a client, which logs in. Reconnects of
//! the client itself do not pass through this queue.
//!
//! The queue gives turns at a fixed rate and does not wait until they are used: a session that is busy when its turn
//! comes delays nobody, and one that has left the queue gets no turn.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::LoginTurn;
use crate::backoff::random;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::WHATSAPP_LOGINS_WAITING;

/// The random part by which the pause after a turn may be longer. It is never shorter, because the rate is a limit.
const JITTER: f64 = 0.1;

/// Gives turns in the order of arrival, at a fixed rate.
#[derive(Clone)]
pub(super) struct LoginQueue(mpsc::UnboundedSender<oneshot::Sender<()>>);

impl LoginQueue {
    /// Gives `per_second` turns a second until `tasks` begins to stop. These are real seconds, even if other timers run
    /// faster.
    pub(super) fn new(per_second: u32, tasks: &Shutdown) -> Self {
        gauge!(WHATSAPP_LOGINS_WAITING).set(0.0);
        let (sender, waiting) = mpsc::unbounded_channel();
        tasks.spawn_until_begun(give(waiting, Duration::from_secs(1) / per_second.max(1)));
        Self(sender)
    }

    /// Joins the end of the queue. Dropping the turn leaves it.
    pub(super) fn wait(&self) -> LoginTurn {
        let (given, turn) = oneshot::channel();
        let waiting = Waiting::take();
        // If the process stops, no turn is given any more.
        let _ = self.0.send(given);
        Box::pin(async move {
            let _waiting = waiting;
            if turn.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    /// The same, but joins the queue only when `ready` ends.
    pub(super) fn after(
        self: &Arc<Self>,
        ready: impl Future<Output = ()> + Send + Sync + 'static,
    ) -> LoginTurn {
        let turns = self.clone();
        Box::pin(async move {
            ready.await;
            turns.wait().await;
        })
    }
}

async fn give(mut waiting: mpsc::UnboundedReceiver<oneshot::Sender<()>>, share: Duration) {
    let mut next = Instant::now();
    while let Some(mut first) = waiting.recv().await {
        tokio::select! {
            biased;
            () = first.closed() => continue,
            () = sleep_until(next) => {}
        }
        if first.send(()).is_ok() {
            next = Instant::now() + share.mul_f64(1.0 + JITTER * random());
        }
    }
}

/// Counts one waiting session.
struct Waiting;

impl Waiting {
    fn take() -> Self {
        gauge!(WHATSAPP_LOGINS_WAITING).increment(1.0);
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        gauge!(WHATSAPP_LOGINS_WAITING).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::stream::{FuturesOrdered, StreamExt as _};

    use super::*;

    const RATE: u32 = 20;

    fn turns() -> LoginQueue {
        LoginQueue::new(RATE, &Shutdown::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_alone_does_not_wait() {
        let (turns, begun) = (turns(), Instant::now());
        turns.wait().await;
        assert!(begun.elapsed() < Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_than_the_rate_and_nobody_waits_much_longer_than_that() {
        let (turns, begun) = (turns(), Instant::now());
        let mut queue: FuturesOrdered<_> = (0..1000).map(|_| turns.wait()).collect();
        let mut given = Vec::new();
        while queue.next().await.is_some() {
            given.push(begun.elapsed());
        }
        // The clock of the tests has steps of a millisecond.
        let second = Duration::from_millis(999);
        assert!(given.windows(RATE as usize + 1).all(|some| some[RATE as usize] - some[0] >= second));
        assert!(given[999] < Duration::from_secs(58), "{:?}", given[999]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_who_came_is_the_first_who_goes() {
        let turns = turns();
        let (mut first, mut second, mut third) = (turns.wait(), turns.wait(), turns.wait());
        first.as_mut().await;
        assert!(third.as_mut().now_or_never().is_none());
        second.as_mut().await;
        assert!(third.as_mut().now_or_never().is_none());
        third.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_has_left_takes_no_turn() {
        let (turns, begun) = (turns(), Instant::now());
        let left: Vec<_> = (0..1000).map(|_| turns.wait()).collect();
        let last = turns.wait();
        drop(left);
        last.await;
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    }

    /// A session may be busy with its store for minutes.
    #[tokio::test(start_paused = true)]
    async fn a_busy_session_holds_nobody_up() {
        let turns = turns();
        let (busy, next) = (turns.wait(), turns.wait());
        tokio::time::timeout(Duration::from_secs(1), next).await.unwrap();
        busy.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_stops_gives_no_turn() {
        let tasks = Shutdown::new();
        let turns = LoginQueue::new(RATE, &tasks);
        tasks.begin();
        tokio::task::yield_now().await;
        assert!(tokio::time::timeout(Duration::from_secs(60), turns.wait()).await.is_err());
    }
}
