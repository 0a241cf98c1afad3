//! The library's clock: tokio's, made faster by a factor in builds that talk to a simulator.
//!
//! The library has no knobs for its 60 s and 20 s rotations, its pings and its back-off; it does take its timers from
//! outside.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use whatsapp_rust::prelude::TokioRuntime;
use whatsapp_rust::wacore::runtime::{AbortHandle, Runtime};

type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Tokio with faster timers.
pub(super) struct Paced {
    factor: f64,
}

impl Paced {
    /// Timers run `factor` times as fast; 1 is real time.
    pub(super) fn new(factor: f64) -> Self {
        Self { factor }
    }
}

impl Runtime for Paced {
    fn spawn(&self, future: Task) -> AbortHandle {
        TokioRuntime.spawn(future)
    }

    fn spawn_detached(&self, future: Task) {
        TokioRuntime.spawn_detached(future);
    }

    fn sleep(&self, duration: Duration) -> Task {
        TokioRuntime.sleep(duration.div_f64(self.factor))
    }

    fn spawn_blocking(&self, f: Box<dyn FnOnce() + Send + 'static>) -> Task {
        TokioRuntime.spawn_blocking(f)
    }

    fn yield_now(&self) -> Option<Task> {
        None
    }
}
