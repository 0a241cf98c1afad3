//! The library's clock: tokio's, made faster by a factor in builds that talk to a simulator, and with a few of the
//! library's sleeps under our control.
//!
//! The library has no settings for its 60 s and 20 s rotations, its pings and its back-off, but its timers and its task
//! runner can be supplied from outside. Two of its timers would interrupt what must continue: the rotation of QRs ends
//! a connection in the middle of a passkey step, and a watchdog reconnects every 180 s while an account's settings
//! cannot be fetched. `translate` holds the first during a passkey step; the second is always held, because the link
//! task has a schedule of its own.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{Instrument as _, Span};
use whatsapp_rust::prelude::TokioRuntime;
use whatsapp_rust::wacore::runtime::{AbortHandle, Runtime};

type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// After this long without the account's settings the library opens a new connection. No other sleep is as long.
/// Source: `CRITICAL_SYNC_TIMEOUT_SECS` in `client/node_io.rs` of whatsapp-rust 0.7.0.
const WATCHDOG: Duration = Duration::from_secs(180);

/// After this long without a `pair-success` the library drops a pairing code that a phone has taken. While no device is
/// linked only the first QR is shown as long. Source: `start_pair_success_timeout` in `pair_code.rs`.
const PAIR_SUCCESS: Duration = Duration::from_secs(60);

/// A fresh device waits this long for the phone to send its key, even if an earlier client has stored it. Other sleeps
/// have the same length; this is the first one of a login. Source: `KEY_SHARE_GRACE_SECS` in `client/node_io.rs`.
const KEY_SHARE_GRACE: Duration = Duration::from_secs(10);

thread_local! {
    /// The last sleep that was made on this thread, and the client that it belongs to.
    static LAST: RefCell<Option<(Arc<Holds>, Arc<AtomicBool>)>> = const { RefCell::new(None) };
}

/// Tokio with faster timers. Log lines of its tasks belong to the span in which it was made.
pub(super) struct ScaledRuntime {
    factor: f64,
    span: Span,
    holds: Arc<Holds>,
}

/// The sleeps of one client that do not end by the clock alone.
pub(super) struct Holds {
    /// Whether the sleeps that end a pairing are held: a passkey step is open.
    pairing: watch::Sender<bool>,
    /// Counts watchdogs. Each one frees the one before it, whose connection is gone.
    watchdogs: watch::Sender<u64>,
    /// The key that the next login would wait for is stored.
    key_is_there: AtomicBool,
}

impl Holds {
    pub(super) fn new() -> Arc<Self> {
        let key_is_there = AtomicBool::new(false);
        Arc::new(Self { pairing: watch::Sender::new(false), watchdogs: watch::Sender::new(0), key_is_there })
    }

    /// Notes that the next login need not wait for the key.
    pub(super) fn skip_key_share(&self) {
        self.key_is_there.store(true, Ordering::Relaxed);
    }

    /// Marks the last sleep of this thread as one that ends a pairing. The library makes the sleep of a QR right before
    /// it shows it, on the same thread. Its length does not identify it, because others have the same.
    pub(super) fn mark_last(self: &Arc<Self>) {
        LAST.with_borrow(|last| {
            if let Some((holds, marked)) = last
                && Arc::ptr_eq(holds, self)
            {
                marked.store(true, Ordering::Relaxed);
            }
        });
    }

    /// Holds the sleeps that end a pairing until [`Holds::resume`].
    pub(super) fn hold(&self) {
        self.pairing.send_replace(true);
    }

    /// Lets the held sleeps end as soon as their time has passed.
    pub(super) fn resume(&self) {
        self.pairing.send_replace(false);
    }

    /// Frees all sleeps, because the client stops.
    pub(super) fn release(&self) {
        self.resume();
        self.watchdogs.send_modify(|count| *count += 1);
    }

    /// A sleep of one of the lengths that are known, or one that may be marked before it ends.
    fn sleep(self: &Arc<Self>, length: Duration, asleep: Task) -> Task {
        if length == KEY_SHARE_GRACE && self.key_is_there.swap(false, Ordering::Relaxed) {
            return Box::pin(std::future::ready(()));
        }
        if length == WATCHDOG {
            self.watchdogs.send_modify(|count| *count += 1);
            let mut watchdogs = self.watchdogs.subscribe();
            return Box::pin(async move {
                asleep.await;
                // An error means that the client is gone.
                let _ = watchdogs.changed().await;
            });
        }
        let marked = Arc::new(AtomicBool::new(length == PAIR_SUCCESS));
        LAST.set(Some((self.clone(), marked.clone())));
        let mut pairing = self.pairing.subscribe();
        Box::pin(async move {
            asleep.await;
            if marked.load(Ordering::Relaxed) {
                let _ = pairing.wait_for(|held| !held).await;
            }
        })
    }
}

impl ScaledRuntime {
    /// Timers run `factor` times as fast; 1 is real time.
    pub(super) fn new(factor: f64, holds: Arc<Holds>) -> Self {
        Self { factor, span: Span::current(), holds }
    }
}

impl Runtime for ScaledRuntime {
    fn spawn(&self, future: Task) -> AbortHandle {
        TokioRuntime.spawn(Box::pin(future.instrument(self.span.clone())))
    }

    fn spawn_detached(&self, future: Task) {
        TokioRuntime.spawn_detached(Box::pin(future.instrument(self.span.clone())));
    }

    fn sleep(&self, duration: Duration) -> Task {
        self.holds.sleep(duration, TokioRuntime.sleep(duration.div_f64(self.factor)))
    }

    fn spawn_blocking(&self, f: Box<dyn FnOnce() + Send + 'static>) -> Task {
        let span = self.span.clone();
        TokioRuntime.spawn_blocking(Box::new(move || span.in_scope(f)))
    }

    fn yield_now(&self) -> Option<Task> {
        None
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::time::advance;

    use super::*;

    fn paced() -> (ScaledRuntime, Arc<Holds>) {
        let holds = Holds::new();
        (ScaledRuntime::new(1.0, holds.clone()), holds)
    }

    async fn ended(sleep: &mut Task, after: Duration) -> bool {
        // Polled once, so that the paused clock takes it into account.
        assert!(sleep.now_or_never_ref().is_none());
        advance(after).await;
        sleep.now_or_never_ref().is_some()
    }

    trait Poll {
        fn now_or_never_ref(&mut self) -> Option<()>;
    }

    impl Poll for Task {
        fn now_or_never_ref(&mut self) -> Option<()> {
            self.as_mut().now_or_never()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_marked_sleep_is_held_and_any_other_is_not() {
        let (paced, holds) = paced();
        let mut keep_alive = paced.sleep(Duration::from_secs(20));
        let mut qr = paced.sleep(Duration::from_secs(20));
        holds.mark_last();
        holds.hold();
        assert!(ended(&mut keep_alive, Duration::from_secs(21)).await);
        assert!(!ended(&mut qr, Duration::from_secs(600)).await);
        holds.resume();
        qr.await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_mark_of_one_client_is_not_put_on_the_sleep_of_another() {
        let ((mine, holds), (other, _)) = (paced(), paced());
        let mut ours = mine.sleep(Duration::from_secs(20));
        let _theirs = other.sleep(Duration::from_secs(20));
        holds.mark_last();
        holds.hold();
        assert!(ended(&mut ours, Duration::from_secs(21)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_stored_is_not_waited_for_once() {
        let (paced, holds) = paced();
        holds.skip_key_share();
        assert!(!ended(&mut paced.sleep(Duration::from_secs(9)), Duration::ZERO).await);
        assert!(paced.sleep(KEY_SHARE_GRACE).now_or_never_ref().is_some());
        assert!(!ended(&mut paced.sleep(KEY_SHARE_GRACE), Duration::from_secs(9)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watchdog_ends_with_the_next_one_or_with_the_client() {
        let (paced, holds) = paced();
        let mut first = paced.sleep(WATCHDOG);
        assert!(!ended(&mut first, Duration::from_secs(3600)).await);
        let mut second = paced.sleep(WATCHDOG);
        first.await;
        assert!(!ended(&mut second, Duration::from_secs(3600)).await);
        holds.release();
        second.await;
    }
}
