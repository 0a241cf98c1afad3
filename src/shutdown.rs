//! Stopping: one token that everything watches, one tracker that knows what still runs.
//!
//! No task is started any other way (clippy bans a bare `tokio::spawn`), so a stop can say what it waits for.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument as _;

/// The stop signal and everything that must end because of it. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    token: CancellationToken,
    tasks: TaskTracker,
    /// Set before the token.
    spread: OnceLock<Spread>,
}

/// When the parts that stop one after the other do so.
#[derive(Debug)]
struct Spread {
    from: Instant,
    over: Duration,
    next: AtomicU32,
}

/// The golden section of 2^32: steps of this size around a circle are spread evenly over it after any number of steps,
/// and consecutive ones are far apart.
const STEP: u32 = 0x9E37_79B9;

impl Spread {
    fn moment(&self) -> Instant {
        let step = self.next.fetch_add(STEP, Ordering::Relaxed);
        self.from + self.over.mul_f64(f64::from(step) / (f64::from(u32::MAX) + 1.0))
    }
}

impl Shutdown {
    /// A stop signal that has not been given, with no tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everything to stop. Cannot be taken back.
    pub fn begin(&self) {
        self.begin_over(Duration::ZERO);
    }

    /// The same, but each holder of a [`DrainSlot`] ends at its own moment within this time.
    pub fn begin_over(&self, over: Duration) {
        let inner = &self.inner;
        inner.spread.get_or_init(|| Spread { from: Instant::now(), over, next: AtomicU32::new(0) });
        inner.token.cancel();
        inner.tasks.close();
    }

    /// Whether a stop was asked for.
    pub fn has_begun(&self) -> bool {
        self.inner.token.is_cancelled()
    }

    /// Ends when a stop is asked for.
    pub async fn begun(&self) {
        self.inner.token.cancelled().await;
    }

    /// Starts a task that a stop waits for. The task itself must watch [`Shutdown::begun`].
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.tasks.spawn(task);
    }

    /// Runs work to its end, in the caller's span, even if the caller is dropped meanwhile. `None` when it did not come to its
    /// end: it panicked, or the process ends.
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, ended) = oneshot::channel();
        let work = async move {
            // The caller may be gone.
            let _ = done.send(work.await);
        };
        self.spawn(work.in_current_span());
        ended.await.ok()
    }

    /// Starts a task that is dropped when a stop begins.
    pub fn spawn_until_begun(&self, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.inner.token.clone();
        self.spawn(async move {
            // `None` means that the task was dropped.
            let _ = token.run_until_cancelled(task).await;
        });
    }

    /// Lets a stop wait for a task that is started elsewhere.
    pub fn track<F: Future>(&self, task: F) -> impl Future<Output = F::Output> + use<F> {
        self.inner.tasks.track_future(task)
    }

    /// A slot for something that ends at its own moment during a spread-out stop.
    pub fn drain_slot(&self) -> DrainSlot {
        DrainSlot { stop: self.clone(), moment: None, _counted: self.inner.tasks.token() }
    }

    /// How many tasks still run and slots are held, together.
    pub fn running(&self) -> usize {
        self.inner.tasks.len()
    }

    /// Waits at most this long until every task has ended and every slot was dropped. Returns how many are left.
    pub async fn finished(&self, grace: Duration) -> usize {
        self.finished_by(Instant::now() + grace).await
    }

    /// The same with a deadline instead of a duration.
    pub async fn finished_by(&self, until: Instant) -> usize {
        self.inner.tasks.close();
        // After a timeout the answer is the number that is left, as it is without one.
        let _ = timeout_at(until, self.inner.tasks.wait()).await;
        self.running()
    }
}

/// Held by each of many parts that a stop ends one after the other. The stop waits until it is dropped. It has no timer
/// before the stop begins.
#[derive(Debug)]
pub struct DrainSlot {
    stop: Shutdown,
    moment: Option<Pin<Box<Sleep>>>,
    _counted: TaskTrackerToken,
}

impl DrainSlot {
    /// Ends when the stop has begun and the moment of this slot has come. Cancel-safe.
    pub async fn comes(&mut self) {
        if self.moment.is_none() {
            self.stop.begun().await;
            // Set before the token.
            let Some(spread) = self.stop.inner.spread.get() else { return };
            self.moment = Some(Box::pin(sleep_until(spread.moment())));
        }
        if let Some(moment) = &mut self.moment {
            moment.as_mut().await;
        }
    }
}

/// Begins the stop at the first SIGTERM or SIGINT. At the second the process ends at once, with exit code 1.
///
/// # Errors
/// When signals cannot be heard.
pub async fn at_signals(stop: &Shutdown) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    next().await;
    stop.begin();
    next().await;
    tracing::warn!("a second signal: exiting at once, whatever still runs");
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_fall_on_every_part_of_the_time_alike() {
        let stop = Shutdown::new();
        let begun = Instant::now();
        let slots: Vec<_> = (0..100).map(|_| stop.drain_slot()).collect();
        stop.begin_over(Duration::from_secs(10));
        let gone = futures::future::join_all(slots.into_iter().map(async |mut slot| {
            slot.comes().await;
            begun.elapsed()
        }));
        let gone = gone.await;
        for tenth in 0..10 {
            let from = Duration::from_secs(tenth);
            let count = gone.iter().filter(|at| (from..from + Duration::from_secs(1)).contains(*at)).count();
            assert!((9..=11).contains(&count), "{count} in the second after {from:?}");
        }
        assert_eq!(stop.running(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_turns_and_without_a_spread_they_come_at_once() {
        let stop = Shutdown::new();
        let mut slot = stop.drain_slot();
        assert!(timeout_at(Instant::now() + Duration::from_secs(60), slot.comes()).await.is_err());
        let begun = Instant::now();
        stop.begin();
        slot.comes().await;
        assert_eq!(stop.finished(Duration::from_secs(1)).await, 1);
        drop(slot);
        assert_eq!(stop.finished(Duration::from_secs(9)).await, 0);
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}
