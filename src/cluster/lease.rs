//! How long this replica may act as the owner of a session. Its tenure and its link task ask; `ownership` renews.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// One ownership's end, as far as this replica knows. Counted from the start of the last good renewal, on the process's
/// own clock, which goes on while the process is paused.
#[derive(Debug)]
pub(crate) struct Lease {
    end: watch::Sender<Option<Instant>>,
    releasing: AtomicBool,
}

impl Lease {
    /// Where every session is always ours.
    pub(crate) fn forever() -> Self {
        Self { end: watch::Sender::new(None), releasing: AtomicBool::new(false) }
    }

    /// From now on, for this long.
    pub(crate) fn of(duration: Duration) -> Self {
        Self::until(Instant::now() + duration)
    }

    fn until(end: Instant) -> Self {
        Self { end: watch::Sender::new(Some(end)), releasing: AtomicBool::new(false) }
    }

    pub(crate) fn renew(&self, end: Instant) {
        self.end.send_replace(Some(end));
    }

    pub(crate) fn lasts(&self) -> bool {
        self.end.borrow().is_none_or(|end| Instant::now() < end)
    }

    /// This replica is about to release it: from now on its absence is expected.
    pub(crate) fn mark_releasing(&self) {
        self.releasing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_releasing(&self) -> bool {
        self.releasing.load(Ordering::Relaxed)
    }

    /// Waits until it has lapsed.
    pub(crate) async fn lapsed(&self) {
        let mut end = self.end.subscribe();
        loop {
            let until = *end.borrow_and_update();
            let lapse = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The sender is right here.
                _ = end.changed() => {}
                () = lapse => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_lapses_when_it_is_not_renewed() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let lease = Lease::until(start + second);
        let renewing = async {
            sleep_until(start + second / 2).await;
            lease.renew(start + 3 * second);
        };
        tokio::join!(renewing, lease.lapsed());
        assert!(start.elapsed() >= 3 * second && !lease.lasts());
        lease.renew(start + 5 * second);
        assert!(lease.lasts());
        assert!(tokio::time::timeout(60 * second, Lease::forever().lapsed()).await.is_err());
    }
}
