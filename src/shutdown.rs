//! Stopping: one token that everything watches, one tracker that knows what still runs.
//!
//! No task is started any other way (clippy bans a bare `tokio::spawn`), so a stop can say what it waits for.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The stop signal and everything that must end because of it. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Nothing runs yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everything to stop. Cannot be taken back.
    pub fn begin(&self) {
        self.token.cancel();
        self.tasks.close();
    }

    /// Whether a stop was asked for.
    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Ends when a stop is asked for.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Starts a task that a stop waits for. The task itself must watch [`Shutdown::begun`].
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Starts a task that is dropped when a stop begins.
    pub fn spawn_until_begun(&self, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        self.spawn(async move {
            // `None`: it was dropped.
            let _ = token.run_until_cancelled(task).await;
        });
    }

    /// Counts a task that somebody else starts among those that a stop waits for.
    pub fn track<F: Future>(&self, task: F) -> impl Future<Output = F::Output> + use<F> {
        self.tasks.track_future(task)
    }

    /// How many tasks still run.
    pub fn running(&self) -> usize {
        self.tasks.len()
    }

    /// Waits until every task has ended, at most this long; the number of those that still run.
    pub async fn finished(&self, grace: Duration) -> usize {
        self.tasks.close();
        // Either way the answer is what is left.
        let _ = tokio::time::timeout(grace, self.tasks.wait()).await;
        self.running()
    }
}

/// Ends at the first SIGTERM or SIGINT.
pub async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
