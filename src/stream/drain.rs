//! The end of all streams when the server stops: when each of them goes, and what it is told.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::close::Close;
use crate::shutdown::{DrainSlot, Shutdown};

/// How long viewers stay away from a replica that others stand in for.
const ELSEWHERE: Duration = Duration::from_secs(1);

/// How long where nobody does: the next process has to be there by then. A proxy answers 502 until it is, and an
/// `EventSource` gives up for good on that, or on a refused connection where the server is another origin.
const UNTIL_IT_IS_BACK: Duration = Duration::from_secs(8);

/// Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    stop: Shutdown,
    /// Set before the stop begins.
    pause: Arc<OnceLock<Duration>>,
}

impl Drain {
    /// Sends everybody away: one after the other over this time, so that they do not return in one wave to those who stand
    /// in; all at once where nobody does, for a stop that lasts longer is only longer.
    pub fn begin(&self, over: Duration, is_alone: bool) {
        let (over, pause) = if is_alone { (Duration::ZERO, UNTIL_IT_IS_BACK) } else { (over, ELSEWHERE) };
        self.pause.get_or_init(|| pause);
        self.stop.begin_over(over);
    }

    /// What a stream is told, once it has begun. One that opens now is told the same at once.
    pub fn goodbye(&self) -> Option<Close> {
        let pause = self.pause.get().copied().unwrap_or(ELSEWHERE);
        self.stop.has_begun().then_some(Close::Draining { pause })
    }

    /// How many streams there are.
    pub fn streams(&self) -> usize {
        self.stop.running()
    }

    /// Waits until no stream is left, at most until then.
    pub async fn finished_by(&self, until: Instant) {
        // Whoever asks counts those that are left later.
        let _ = self.stop.finished_by(until).await;
    }

    /// One more stream's place among those that go.
    pub fn enter(&self) -> DrainingStream {
        DrainingStream { turn: self.stop.turn(), drain: self.clone() }
    }
}

/// One stream's. The stop waits until it is dropped.
#[derive(Debug)]
pub struct DrainingStream {
    turn: DrainSlot,
    drain: Drain,
}

impl DrainingStream {
    /// Ends when this stream has to go, with what it is told. May be dropped while it waits.
    pub async fn goodbye(&mut self) -> Close {
        self.turn.comes().await;
        self.drain.goodbye().unwrap_or(Close::Draining { pause: ELSEWHERE })
    }
}
