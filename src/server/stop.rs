//! The order in which a server ends: link tasks, streams, what streams stood on, connections.
//!
//! Accepting goes on until the last stream has gone: a balancer that has not noticed yet still sends requests, and a viewer
//! that comes back too soon is told so instead of being refused.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::info;

use crate::shutdown::Shutdown;
use crate::stream::drain::Drain;

/// How long streams wait for link tasks that are slow to stop, beyond `READY_DELAY_MS`: viewers should hear of the
/// hand-over.
const LINKS_FIRST: Duration = Duration::from_secs(2);

/// A stop takes at most `READY_DELAY_MS` and `DRAIN_SECONDS` and five seconds: these, then those of the store, and what a
/// process needs to go.
const GRACE: Duration = Duration::from_millis(4300);

/// How long the store may take to close when all the time was used up. What was answered with yes is stored by then.
const STORE_GRACE: Duration = Duration::from_millis(400);

/// How long connections have for their last bytes, once no stream is left or the time of the streams is over.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// What ends one after the other. Each begins to end after the one before.
#[derive(Clone, Debug, Default)]
pub(super) struct Stages {
    /// Link tasks, and what decides which there are.
    pub(super) links: Shutdown,
    /// Streams: each holds a place.
    pub(super) drain: Drain,
    /// What streams stand on.
    pub(super) streams: Shutdown,
    /// The listening socket and all connections.
    pub(super) connections: Shutdown,
}

/// What was left at the end.
#[derive(Debug)]
pub(super) struct Left {
    /// Tasks of `links`: sessions that were not handed over.
    pub(super) links: usize,
    /// Streams and connections whose peer took no bytes, or answers that nobody waits for any more.
    pub(super) connections: usize,
    /// Until when the store may take to close.
    pub(super) until: Instant,
}

impl Stages {
    /// Ends it all in time, and sooner where nobody watches. `is_alone` says whether no other replica is known to stand in
    /// for this one.
    pub(super) async fn end(
        &self,
        ready_delay: Duration,
        drain: Duration,
        is_alone: impl Future<Output = bool>,
    ) -> Left {
        let ready_until = Instant::now() + ready_delay;
        let end = ready_until + drain + GRACE;
        info!("stopping");
        self.links.begin();
        // Balancers have it until they have noticed.
        sleep_until(ready_until).await;
        self.links.finished_by(end.min(ready_until + LINKS_FIRST)).await;
        let is_alone = is_alone.await;
        info!(streams = self.drain.streams(), is_alone, "sending streams away");
        self.drain.begin(drain, is_alone);
        // One viewer that takes no bytes, or one slow link task, must not cost all others their last bytes.
        let streams_until = end - LAST_BYTES;
        tokio::join!(self.links.finished_by(streams_until), self.drain.finished_by(streams_until));
        self.streams.begin();
        self.connections.begin();
        let last_bytes = end.min(Instant::now() + LAST_BYTES);
        let (links, below, connections) = tokio::join!(
            self.links.finished_by(end),
            self.streams.finished_by(last_bytes),
            self.connections.finished_by(last_bytes)
        );
        let connections = self.drain.streams().max(below).max(connections);
        Left { links, connections, until: end + STORE_GRACE }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_viewer_that_takes_no_bytes_costs_the_others_nothing() {
        let stages = Stages::default();
        let _never_goes = stages.drain.enter();
        for stage in [&stages.streams, &stages.connections] {
            let begun = stage.clone();
            stage.spawn(async move {
                begun.begun().await;
                tokio::time::sleep(LAST_BYTES * 9 / 10).await;
            });
        }
        let asked = Instant::now();
        let left = stages.end(Duration::ZERO, Duration::ZERO, ready(false)).await;
        assert_eq!((stages.streams.running(), stages.connections.running()), (0, 0), "had their time");
        assert_eq!((left.links, left.connections), (0, 1));
        assert!(asked.elapsed() <= GRACE, "{:?}", asked.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_link_task_has_all_the_time_there_is() {
        let stages = Stages::default();
        stages.links.spawn(tokio::time::sleep(GRACE - Duration::from_millis(100)));
        let left = stages.end(Duration::ZERO, Duration::ZERO, ready(false)).await;
        assert_eq!((left.links, left.connections), (0, 0));
    }
}
