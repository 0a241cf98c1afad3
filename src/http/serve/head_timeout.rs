//! How long hyper waits for a request's head: short once a byte of it has come, long between two requests.
//!
//! hyper has one time for both. A proxy keeps connections for later requests, and loses one that it sends in the moment in
//! which this server lets go; a head that comes byte by byte should not have that long.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use crate::http::door::limits::connections::Connection;

/// From the beginning of a connection, or the first byte of a later request, to the end of the head.
pub(super) const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection is kept without a request: longer than the proxies that are around.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(75);

/// The clock of one connection. hyper starts it for each head.
#[derive(Clone, Debug)]
pub(super) struct HeadClock {
    shared: Arc<Shared>,
    /// Waits for a request whenever hyper waits for a head.
    connection: Connection,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether this is no longer the first request.
    is_kept: AtomicBool,
    /// Whether bytes have come since hyper began to wait.
    came: AtomicBool,
}

impl HeadClock {
    /// Of this connection.
    pub(in crate::http) fn new(connection: Connection) -> Self {
        Self { shared: Arc::default(), connection }
    }

    /// Bytes have come.
    pub(super) fn bytes_came(&self) {
        self.shared.came.store(true, Ordering::Relaxed);
    }
}

impl Timer for HeadClock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.connection.is_idle();
        let is_kept = self.shared.is_kept.swap(true, Ordering::Relaxed);
        // A connection that was just opened has something to say.
        self.shared.came.store(!is_kept, Ordering::Relaxed);
        let sleep = Box::pin(tokio::time::sleep_until(deadline.into()));
        Box::pin(HeadSleep { shared: self.shared.clone(), sleep, is_short: false })
    }
}

struct HeadSleep {
    shared: Arc<Shared>,
    sleep: Pin<Box<tokio::time::Sleep>>,
    is_short: bool,
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    /// hyper asks after each read that did not end the head.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_short && self.shared.came.load(Ordering::Relaxed) {
            self.is_short = true;
            self.sleep.as_mut().reset(tokio::time::Instant::now() + HEAD_LIMIT);
        }
        self.sleep.as_mut().poll(context)
    }
}
