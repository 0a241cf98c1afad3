//! Whether WhatsApp can be reached by one way out, as far as this process knows.
//!
//! A way is dead after two failed dials in a row, by any sessions, or after one failed probe. A single failure concerns
//! only its session. While a way is dead, nothing dials except a probe, which logs nobody in. After a way was dead, no
//! client that was built before dials again by itself, because all of them would return at times of their own. The link
//! tasks build new clients in turn.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};
use whatsapp_rust::anyhow;

use crate::shutdown::Shutdown;
use crate::telemetry::metrics::{WHATSAPP_PROBES, WHATSAPP_WAYS_DEAD};

/// A way is dead after this many failed dials in a row.
const FAILURES: u32 = 2;

/// The time from one probe's start to the next one's, in seconds. The last value repeats.
const PAUSES: [u64; 6] = [1, 2, 5, 10, 20, 30];

/// The library drops a dial after 20 s without reporting it. So a dial that is dropped after this time counts as
/// failed.
const LATE_DROP: Duration = Duration::from_secs(18);

/// How long a probe may take: as long as the library waits for a connection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

/// The shortest timeout of a probe, because an answer takes real time even if the timers run faster.
const LEAST_PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A way out that can be probed.
#[async_trait]
pub(super) trait Way: Send + Sync + 'static {
    /// The knowledge about this way.
    fn reach(&self) -> &Reach;

    /// Opens a connection, and closes it.
    async fn probe(&self) -> anyhow::Result<()>;
}

/// What all ways out of a process share.
#[derive(Clone, Debug)]
pub struct Watch {
    /// How much faster than real the timers run.
    pub factor: f64,
    /// The tasks that run the probes.
    pub tasks: Shutdown,
}

/// Given to a client when it is built: whether its way was alive then, and how often it had been dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass(Option<u64>);

/// The knowledge about one way.
pub(super) struct Reach {
    state: watch::Sender<ReachState>,
    watch: Watch,
}

#[derive(Default)]
struct ReachState {
    /// Failed dials in a row.
    failures: u32,
    /// The error and the time of its death, while it is dead.
    dead: Option<(String, Instant)>,
    /// How often it has been dead.
    deaths: u64,
    /// Whether a task probes it.
    probed: bool,
}

impl Reach {
    pub(super) fn new(watch: Watch) -> Self {
        Self { state: watch::Sender::default(), watch }
    }

    /// The pass of a client that is built now.
    pub(super) fn pass(&self) -> Pass {
        let state = self.state.borrow();
        Pass(state.dead.is_none().then_some(state.deaths))
    }

    /// Whether a client with this pass may dial.
    ///
    /// # Errors
    /// The reason why not.
    pub(super) fn admits(&self, pass: Pass) -> Result<(), String> {
        let state = self.state.borrow();
        match &state.dead {
            Some((detail, _)) => Err(detail.clone()),
            None if pass.0 != Some(state.deaths) => {
                Err("WhatsApp can be reached again, and this session waits for its turn".into())
            }
            None => Ok(()),
        }
    }

    /// Ends as soon as the way is not known to be dead.
    pub(super) fn alive(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut state = self.state.subscribe();
        async move {
            // An error means that the way is no longer in use.
            if state.wait_for(|state| state.dead.is_none()).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// How long a probe may take.
    pub(super) fn probe_timeout(&self) -> Duration {
        PROBE_TIMEOUT.div_f64(self.watch.factor).max(LEAST_PROBE_TIMEOUT)
    }

    /// Notes that WhatsApp was reached through this way.
    pub(super) fn succeeded(&self) {
        self.state.send_if_modified(|state| {
            state.failures = 0;
            let Some((_, since)) = state.dead.take() else { return false };
            gauge!(WHATSAPP_WAYS_DEAD).decrement(1.0);
            info!(seconds = since.elapsed().as_secs(), "WhatsApp can be reached again");
            true
        });
    }

    /// Notes that a dial through this way failed, and starts a task that probes it if necessary.
    pub(super) fn failed<W: Way>(way: &Arc<W>, detail: &str) {
        let this = way.reach();
        let mut begins = false;
        this.state.send_modify(|state| {
            state.failures = state.failures.saturating_add(1);
            if state.failures >= FAILURES {
                state.die(detail);
            }
            begins = !std::mem::replace(&mut state.probed, true);
        });
        if begins {
            this.watch.tasks.spawn_until_begun(look_after(Arc::downgrade(way), this.watch.factor));
        }
    }

    /// Whether the way needs no probes any more. The task that asks stops then.
    fn is_well(&self) -> bool {
        let mut well = false;
        self.state.send_if_modified(|state| {
            well = state.dead.is_none() && state.failures == 0;
            state.probed = !well;
            false
        });
        well
    }
}

impl ReachState {
    fn die(&mut self, detail: &str) {
        match &mut self.dead {
            Some((why, _)) => detail.clone_into(why),
            None => {
                warn!(error = detail, "WhatsApp cannot be reached: nobody dials until a probe does");
                gauge!(WHATSAPP_WAYS_DEAD).increment(1.0);
                self.dead = Some((detail.to_owned(), Instant::now()));
                self.deaths += 1;
            }
        }
    }
}

impl Drop for Reach {
    fn drop(&mut self) {
        if self.state.borrow().dead.is_some() {
            gauge!(WHATSAPP_WAYS_DEAD).decrement(1.0);
        }
    }
}

/// Probes until the way works again or is no longer in use.
async fn look_after<W: Way>(way: Weak<W>, factor: f64) {
    let mut begun = Instant::now();
    for pause in PAUSES.iter().chain(std::iter::repeat(&PAUSES[PAUSES.len() - 1])) {
        sleep_until(begun + Duration::from_secs(*pause).div_f64(factor)).await;
        begun = Instant::now();
        let Some(way) = way.upgrade() else { return };
        if way.reach().is_well() {
            return;
        }
        match way.probe().await {
            Ok(()) => {
                counter!(WHATSAPP_PROBES, "result" => "ok").increment(1);
                way.reach().succeeded();
            }
            Err(error) => {
                counter!(WHATSAPP_PROBES, "result" => "failed").increment(1);
                let detail = format!("{error:#}");
                debug!(error = detail, "a probe did not reach WhatsApp");
                way.reach().state.send_modify(|state| state.die(&detail));
            }
        }
        if way.reach().is_well() {
            return;
        }
    }
}

/// A dial that has begun. If it is dropped after [`LATE_DROP`], it has failed.
pub(super) struct Dial<'a, W: Way> {
    way: Option<&'a Arc<W>>,
    begun: Instant,
}

impl<'a, W: Way> Dial<'a, W> {
    pub(super) fn begin(way: &'a Arc<W>) -> Self {
        Self { way: Some(way), begun: Instant::now() }
    }

    /// Notes the result of the dial.
    pub(super) fn ended<T>(mut self, result: &anyhow::Result<T>) {
        let Some(way) = self.way.take() else { return };
        match result {
            Ok(_) => way.reach().succeeded(),
            Err(error) => Reach::failed(way, &format!("{error:#}")),
        }
    }
}

impl<W: Way> Drop for Dial<'_, W> {
    fn drop(&mut self) {
        let Some(way) = self.way else { return };
        if self.begun.elapsed() >= LATE_DROP.div_f64(way.reach().watch.factor) {
            Reach::failed(way, "WhatsApp did not answer within the client's time");
        }
    }
}

#[cfg(test)]
mod tests;
