//! Sends each session's events to those who asked for them: the receivers of all sessions (`WEBHOOK_URLS`), and the one that
//! a session has of its own.
//!
//! A receiver is a reader of the session's log with a durable cursor, so what waits for it is what the log has after that, and
//! the call that appends an event is the call that queues it. Any replica sends: the owner of a session at once, for its log
//! says that there is something new; whoever looks at the list of those that are due otherwise. `delivery` does the sending,
//! `lanes` says how much at a time, `listing` tells people how it stands.
//!
//! `server` starts it, and `http` asks it.

mod delivery;
mod lanes;
mod listing;
mod losses;
mod post;
mod standing;
pub(crate) mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use metrics::gauge;
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tracing::warn;

use self::lanes::{Entry, Errand, Lanes, Receiver};
pub(crate) use self::listing::{Listed, ResendError};
use self::losses::Losses;
use self::post::{HttpPost, Post};
use self::standing::Standing;
pub(crate) use self::store::redis::RedisHooks;
pub(crate) use self::store::sqlite::{SCHEMA, SqliteHooks};
use self::store::{Due, Found, HookStore};
use crate::backoff::random;
use crate::config::WebhookSettings;
use crate::event::Time;
use crate::id::SessionId;
use crate::log::EventLog;
use crate::receiver::ReceiverUrl;
use crate::shutdown::Shutdown;
use crate::storage::StorageError;
use crate::telemetry::metrics::WEBHOOKS_WAITING;

/// Between two looks at the list of those that are due.
const SWEEP: Duration = Duration::from_secs(2);

/// A session that is being sent is looked at again after so long: this process may have died meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Sessions that are looked at, at a time.
const AT_ONCE: usize = 32;

/// A session's own receiver, in the store.
const OWN: &str = "own";

/// What time it is.
type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// What webhooks stand on.
pub(crate) struct Parts {
    pub(crate) settings: WebhookSettings,
    pub(crate) store: Arc<dyn HookStore>,
    pub(crate) log: Arc<dyn EventLog>,
    /// Sessions with something new.
    pub(crate) woken: mpsc::Receiver<SessionId>,
    /// All pauses are so many times shorter.
    pub(crate) speed: f64,
    pub(crate) shutdown: Shutdown,
}

/// Webhooks of this process. Clones are the same.
#[derive(Clone)]
pub(crate) struct Webhooks(Arc<Inner>);

struct Inner {
    settings: WebhookSettings,
    /// The receivers of all sessions, and since when each is known.
    shared: Vec<Receiver>,
    since: RwLock<HashMap<String, Time>>,
    store: Arc<dyn HookStore>,
    log: Arc<dyn EventLog>,
    post: Arc<dyn Post>,
    lanes: Lanes,
    losses: Losses,
    /// The deployment's secret, of which those of API keys are made.
    secret: RwLock<Option<String>>,
    now: Clock,
    speed: f64,
    shutdown: Shutdown,
}

impl Webhooks {
    /// Begins to send, until the shutdown begins.
    pub(crate) fn start(parts: Parts) -> Self {
        let post = Arc::new(HttpPost::new(parts.settings.allow_private));
        Self::start_with(parts, post, Arc::new(Time::now))
    }

    fn start_with(parts: Parts, post: Arc<dyn Post>, now: Clock) -> Self {
        let Parts { settings, store, log, woken, speed, shutdown } = parts;
        let shared =
            settings.urls.iter().map(|url| Receiver { id: name_of(url), url: url.clone(), key: None });
        let this = Self(Arc::new(Inner {
            shared: shared.collect(),
            since: RwLock::default(),
            settings,
            store,
            log,
            post,
            lanes: Lanes::new(speed),
            losses: Losses::default(),
            secret: RwLock::default(),
            now,
            speed,
            shutdown: shutdown.clone(),
        }));
        shutdown.spawn_until_begun(this.clone().run(woken));
        this
    }

    /// What the secrets of API keys are made of from now on; all replicas have the same.
    pub(crate) fn set_secret(&self, secret: &str) {
        *self.0.secret.write() = Some(secret.to_owned());
    }

    async fn run(self, woken: mpsc::Receiver<SessionId>) {
        while let Err(error) = self.learn_since().await {
            if !error.passes() {
                warn!(%error, "webhooks cannot begin yet");
            }
            tokio::time::sleep(SWEEP).await;
        }
        tokio::join!(self.listen(woken), self.sweep());
    }

    /// A receiver that is new gets what happens from now on.
    async fn learn_since(&self) -> Result<(), StorageError> {
        for receiver in &self.0.shared {
            let since = self.0.store.known_since(&receiver.id, (self.0.now)()).await?;
            self.0.since.write().insert(receiver.id.clone(), since);
        }
        Ok(())
    }

    async fn listen(&self, woken: mpsc::Receiver<SessionId>) {
        let woken = stream::unfold(woken, async |mut woken| Some((woken.recv().await?, woken)));
        woken.for_each_concurrent(AT_ONCE, async |session| self.look(&session, None).await).await;
    }

    async fn sweep(&self) {
        loop {
            match self.0.store.due((self.0.now)()).await {
                Ok(due) => {
                    let look = async |(session, due)| self.look(&session, Some(due)).await;
                    stream::iter(due).for_each_concurrent(AT_ONCE, look).await;
                }
                Err(StorageError::Closed) => return,
                Err(error) if error.passes() => {}
                Err(error) => warn!(%error, "the webhooks that are due cannot be read"),
            }
            gauge!(WEBHOOKS_WAITING).set(self.0.lanes.count() as f64);
            tokio::time::sleep(SWEEP.div_f64(self.0.speed)).await;
        }
    }

    /// Begins what a session needs, and says when somebody is to look again.
    async fn look(&self, session: &SessionId, due: Option<Due>) {
        let Inner { store, .. } = &*self.0;
        let looked = async {
            let next = match store.look(session).await? {
                Some(found) => self.consider(session, &found),
                None => None,
            };
            match due {
                Some(due) => store.settle(session, due, next).await,
                None => Ok(()),
            }
        };
        match looked.await {
            // It stays on the list.
            Err(error) if error.passes() || matches!(error, StorageError::Closed) => {}
            Err(error) => warn!(sessionId = %session, %error, "webhooks of a session cannot be read"),
            Ok(()) => {}
        }
    }

    /// When somebody is to look again; `None` where nothing waits.
    fn consider(&self, session: &SessionId, found: &Found) -> Option<Time> {
        let next = |receiver: Receiver| {
            let standing = Standing::read(found.standings.get(&receiver.id).map_or("", String::as_str));
            let claimed = found.claims.get(&receiver.id).copied();
            self.send(Errand { session: session.clone(), receiver }, &standing, found, claimed)
        };
        self.receivers(found).into_iter().filter_map(next).min()
    }

    fn send(
        &self,
        errand: Errand,
        standing: &Standing,
        found: &Found,
        claimed: Option<Time>,
    ) -> Option<Time> {
        let now = (self.0.now)();
        if standing.gone || standing.is_done(found.last) {
            return None;
        }
        if let Some(later) = standing.next.max(claimed).filter(|later| *later > now) {
            return Some(later);
        }
        let pause = match self.0.lanes.enter(&errand) {
            Entry::Go => {
                self.spawn(errand);
                LOOK_AGAIN
            }
            Entry::Here => LOOK_AGAIN,
            Entry::Full => SWEEP.mul_f64(1.0 + random()).div_f64(self.0.speed),
            // Not all at once.
            Entry::Rests(rest) => rest.mul_f64(1.0 + random()),
        };
        Some(now.after(pause))
    }

    fn spawn(&self, errand: Errand) {
        let this = self.clone();
        self.0.shutdown.spawn(async move {
            let mut errand = Some(errand);
            while let Some(now) = errand {
                this.run_errand(&now).await;
                errand = this.0.lanes.leave(&now).filter(|_| !this.0.shutdown.has_begun());
            }
        });
    }

    /// Everybody who gets the events of a session.
    fn receivers(&self, found: &Found) -> Vec<Receiver> {
        let own = found.own.as_ref().map(|own| Receiver {
            id: OWN.to_owned(),
            url: own.url.clone(),
            key: Some(own.key.clone()),
        });
        self.0.shared.iter().cloned().chain(own).collect()
    }

    /// How many events were lost within the last hour, as far as this process knows: given up after a day, or trimmed from
    /// a log before their turn.
    pub(crate) fn lost_lately(&self) -> u64 {
        self.0.losses.lately()
    }
}

/// A receiver of all sessions, in the store: a URL may hold a secret.
fn name_of(url: &ReceiverUrl) -> String {
    let hash = Sha256::digest(url.as_str());
    hash.iter().take(8).fold(String::new(), |name, byte| format!("{name}{byte:02x}"))
}
