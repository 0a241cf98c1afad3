//! The library's clock: tokio's, made faster by a factor in builds that talk to a simulator.
//!
//! The library has no knobs for its 60 s and 20 s rotations, its pings and its back-off; it does take its timers from
//! outside, as it takes what runs its tasks.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tracing::{Instrument as _, Span};
use whatsapp_rust::prelude::TokioRuntime;
use whatsapp_rust::wacore::runtime::{AbortHandle, Runtime};

type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Tokio with faster timers. What its tasks log belongs to the span in which it was made.
pub(super) struct Paced {
    factor: f64,
    span: Span,
}

impl Paced {
    /// Timers run `factor` times as fast; 1 is real time.
    pub(super) fn new(factor: f64) -> Self {
        Self { factor, span: Span::current() }
    }
}

impl Runtime for Paced {
    fn spawn(&self, future: Task) -> AbortHandle {
        TokioRuntime.spawn(Box::pin(future.instrument(self.span.clone())))
    }

    fn spawn_detached(&self, future: Task) {
        TokioRuntime.spawn_detached(Box::pin(future.instrument(self.span.clone())));
    }

    fn sleep(&self, duration: Duration) -> Task {
        TokioRuntime.sleep(duration.div_f64(self.factor))
    }

    fn spawn_blocking(&self, f: Box<dyn FnOnce() + Send + 'static>) -> Task {
        let span = self.span.clone();
        TokioRuntime.spawn_blocking(Box::new(move || span.in_scope(f)))
    }

    fn yield_now(&self) -> Option<Task> {
        None
    }
}
