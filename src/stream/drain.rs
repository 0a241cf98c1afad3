//! The end of all streams when the server stops: when each of them goes, and what it is told.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::close::Close;
use crate::shutdown::{DrainSlot, Shutdown};

/// How long viewers stay away if other replicas take over.
const ELSEWHERE: Duration = Duration::from_secs(1);

/// How long they stay away if none does. The next process must have started by then: until it has, a proxy answers 502,
/// and an
/// `EventSource` never returns after a 502, nor after a refused connection to another origin.
const UNTIL_IT_IS_BACK: Duration = Duration::from_secs(8);

/// The end of all streams. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain {
    stop: Shutdown,
    /// Set before the stop begins.
    pause: Arc<OnceLock<Duration>>,
}

impl Drain {
    /// Ends all streams. If other replicas take over, they end one after the other over this time, so that the viewers
    /// do not all return at once. If none does, they end at once, because spreading them would only make the outage
    /// longer.
    pub(crate) fn begin(&self, over: Duration, is_alone: bool) {
        let (over, pause) = if is_alone { (Duration::ZERO, UNTIL_IT_IS_BACK) } else { (over, ELSEWHERE) };
        self.pause.get_or_init(|| pause);
        self.stop.begin_over(over);
    }

    /// The goodbye of a stream, once the drain has begun. A stream that opens later gets the same at once.
    pub(crate) fn goodbye(&self) -> Option<Close> {
        let pause = self.pause.get().copied().unwrap_or(ELSEWHERE);
        self.stop.has_begun().then_some(Close::Draining { pause })
    }

    /// The number of open streams.
    pub(crate) fn streams(&self) -> usize {
        self.stop.running()
    }

    /// Waits until no stream is left, at most until `deadline`.
    pub(crate) async fn finished_by(&self, until: Instant) {
        // The caller counts the remaining streams itself.
        let _ = self.stop.finished_by(until).await;
    }

    /// Adds a stream to those that a drain ends.
    pub(crate) fn enter(&self) -> DrainingStream {
        DrainingStream { slot: self.stop.drain_slot(), drain: self.clone() }
    }
}

/// One open stream. A stop waits until it is dropped.
#[derive(Debug)]
pub(crate) struct DrainingStream {
    slot: DrainSlot,
    drain: Drain,
}

impl DrainingStream {
    /// Ends when this stream has to end, with its goodbye. Cancel-safe.
    pub(crate) async fn goodbye(&mut self) -> Close {
        self.slot.comes().await;
        self.drain.goodbye().unwrap_or(Close::Draining { pause: ELSEWHERE })
    }
}
