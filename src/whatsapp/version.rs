//! Which version of WhatsApp Web the clients claim to be: looked up once a day for the whole process, and at once when
//! WhatsApp refuses it.
//!
//! [`Versions`] looks up and stores the version; [`VersionState`] decides what is believed and when the next look-up is
//! due. The version of a client is fixed when it is built, so a link task that needs a newer one builds a new client.

mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};
use whatsapp_rust::http::HttpClient;
use whatsapp_rust::version::fetch_latest_app_version;

use self::state::{Schedule, VersionState};
use super::Signal;
use super::store::Engine;
use crate::event::Time;
use crate::telemetry::metrics::{WHATSAPP_VERSION, WHATSAPP_VERSION_LOOKUPS};

/// The newest one known when this was built, which is what whatsapp-rust 0.7.0 itself falls back on.
pub(super) const BUILT_IN: Version = Version(1_042_742_319);

/// The day on which WhatsApp began to serve it. It refuses a version about four months after that day, so `scripts/test`
/// reads this line and warns in time.
pub(super) const BUILT_IN_APPEARED: &str = "2026-07-08";

/// How long the first client waits for the first look-up.
const FIRST_LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a look-up may take.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(15);

/// A version of WhatsApp Web: the last number of `2.3000.N`, the only one that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub u32);

impl Version {
    /// The version in the library's form.
    pub(super) fn numbers(self) -> (u32, u32, u32) {
        (2, 3000, self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2.3000.{}", self.0)
    }
}

/// The source of the version that is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionSource {
    /// Built into this binary.
    BuiltIn,
    /// Stored by an earlier process or another replica.
    Stored,
    /// Looked up by this process.
    LookedUp,
    /// Fixed by `WA_VERSION`.
    Fixed,
}

impl VersionSource {
    /// The word of `/health`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built_in",
            Self::Stored => "stored",
            Self::LookedUp => "looked_up",
            Self::Fixed => "fixed",
        }
    }
}

/// A report about the version for an operator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VersionReport {
    /// The version that new clients claim.
    pub version: Version,
    /// The source of that version.
    pub source: VersionSource,
    /// When a look-up last succeeded, here or, as far as the store knows, elsewhere.
    pub looked_up: Option<Time>,
    /// Since when a look-up has been overdue, if the last one failed.
    pub failing_since: Option<Time>,
    /// How long it may be overdue before an alert begins.
    pub patience: Duration,
}

/// The newest version that was ever found, and when a look-up last succeeded: what a store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredVersion {
    /// The newest version.
    pub version: Version,
    /// The time of the last success.
    pub at: Time,
}

/// The version of this process.
pub(super) struct Versions {
    known: watch::Sender<VersionState>,
    /// `None` where the operator has fixed the version.
    sources: Option<Sources>,
    clock: Schedule,
}

/// Where versions are looked up and stored.
struct Sources {
    http: Arc<dyn HttpClient>,
    store: Arc<dyn Engine>,
}

impl Versions {
    /// The version that the operator has fixed. Nothing is looked up.
    pub(super) fn fixed(version: Version) -> Self {
        Self::new(VersionState::fixed(version), None, 1.0)
    }

    /// Looked up, as soon as [`Self::run`] runs. `factor` is how much faster than real its pauses are.
    pub(super) fn looked_up(http: Arc<dyn HttpClient>, store: Arc<dyn Engine>, factor: f64) -> Self {
        Self::new(VersionState::built_in(), Some(Sources { http, store }), factor)
    }

    fn new(known: VersionState, sources: Option<Sources>, factor: f64) -> Self {
        show(known.version);
        Self { known: watch::Sender::new(known), sources, clock: Schedule::faster(factor) }
    }

    /// The version to build a client with. Waits for the very first look-up, for a limited time.
    pub(super) async fn current(&self) -> Version {
        let mut known = self.known.subscribe();
        // After a timeout, the version that is known by then is used.
        let _ = timeout(FIRST_LOOK_UP_TIMEOUT, known.wait_for(|known| known.is_ready)).await;
        self.known.borrow().version
    }

    /// The signal of a client whose version WhatsApp has refused.
    pub(super) fn refusal(&self, version: Version) -> Signal {
        let detail = match self.sources {
            None => format!("WA_VERSION={version} is refused; unset it or set a newer one"),
            Some(_) => format!("WhatsApp no longer takes version {version}"),
        };
        Signal::Outdated { version, detail }
    }

    /// A version newer than this one, which WhatsApp has refused. If none is known it is looked up at once. One look-up
    /// serves all callers, and the next one is made only after a pause.
    pub(super) async fn newer_than(&self, refused: Version) -> Option<Version> {
        self.sources.as_ref()?;
        let mut last = 0;
        self.known.send_if_modified(|known| {
            last = known.look_ups;
            let asks = known.version <= refused && known.may_ask(&self.clock, Instant::now());
            if asks {
                warn!(version = %refused, "WhatsApp refuses this version; looking for a newer one");
                known.wanted = true;
            }
            asks
        });
        let mut known = self.known.subscribe();
        let settled =
            known.wait_for(|known| known.version > refused || known.look_ups > last || !known.wanted);
        let version = settled.await.ok()?.version;
        (version > refused).then_some(version)
    }

    /// Ends as soon as a version newer than this one is known, which may be never.
    pub(super) async fn until_newer(&self, refused: Version) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.known.subscribe().wait_for(|known| known.version > refused).await;
    }

    /// What an operator should know.
    pub(super) fn report(&self) -> VersionReport {
        self.known.borrow().report(&self.clock)
    }

    /// Looks the version up whenever it is due, as long as the process lives.
    pub(super) async fn run(self: Arc<Self>) {
        let Some(sources) = &self.sources else { return };
        self.recall(sources).await;
        let mut news = self.known.subscribe();
        loop {
            let (due, wanted) = {
                let known = news.borrow_and_update();
                (known.due, known.wanted)
            };
            if !wanted {
                tokio::select! {
                    // The due time may have changed meanwhile.
                    _ = news.changed() => continue,
                    () = sleep_until(due) => {}
                }
            }
            self.look_up(sources).await;
        }
    }

    /// Begins with what an earlier process or another replica has found.
    async fn recall(&self, sources: &Sources) {
        let stored = stored(sources).await;
        self.known.send_modify(|known| known.begin(stored, &self.clock, Time::now(), Instant::now()));
        self.show();
    }

    async fn look_up(&self, sources: &Sources) {
        let answer = timeout(LOOK_UP_TIMEOUT, fetch_latest_app_version(&sources.http)).await;
        let found = match answer {
            Ok(Ok(numbers)) => state::believed(numbers),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => Err(format!("no answer within {} s", LOOK_UP_TIMEOUT.as_secs())),
        };
        match found {
            Ok(version) => self.succeeded(version, sources).await,
            Err(error) => self.failed(&error, sources).await,
        }
        self.show();
    }

    async fn succeeded(&self, version: Version, sources: &Sources) {
        counter!(WHATSAPP_VERSION_LOOKUPS, "result" => "ok").increment(1);
        let at = Time::now();
        self.known.send_modify(|known| known.learn(version, at, &self.clock, Instant::now()));
        let version = self.known.borrow().version;
        info!(%version, "version of WhatsApp Web");
        if let Err(error) = sources.store.keep_version(StoredVersion { version, at }).await {
            warn!(%error, %version, "the version of WhatsApp Web was not stored; tried again at the next look-up");
            self.known.send_modify(|known| known.look_up_soon(&self.clock, Instant::now()));
        }
    }

    async fn failed(&self, error: &str, sources: &Sources) {
        counter!(WHATSAPP_VERSION_LOOKUPS, "result" => "failed").increment(1);
        // Another replica may have succeeded meanwhile.
        let stored = stored(sources).await;
        self.known.send_modify(|known| known.miss(stored, &self.clock, Time::now(), Instant::now()));
        let VersionState { version, source, .. } = *self.known.borrow();
        let (source, appeared) = (source.as_str(), BUILT_IN_APPEARED);
        warn!(error, %version, source, builtInAppeared = appeared, "version of WhatsApp Web not found");
    }

    fn show(&self) {
        show(self.known.borrow().version);
    }
}

fn show(version: Version) {
    gauge!(WHATSAPP_VERSION).set(f64::from(version.0));
}

/// The stored version; `None` if the store does not answer.
async fn stored(sources: &Sources) -> Option<StoredVersion> {
    match sources.store.version().await {
        Ok(found) => found,
        Err(error) => {
            warn!(%error, "the stored version of WhatsApp Web cannot be read");
            None
        }
    }
}
