//! Which sessions this replica owns, where there are others: keeps its leases, takes over what nobody runs, gives away
//! what is more than its share.
//!
//! Redis is the only authority. A replica that cannot reach it claims nothing, and after Redis came back nobody takes a
//! lapsed lease for one lease: its owner may live and have had no way to renew it.

mod share;
mod take;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use metrics::counter;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{debug, error, info, warn};

use self::share::Candidate;
use crate::cluster::{Contact, Leases, News, Renewal, Storage, Viewers, Whereabouts};
use crate::event::Status;
use crate::id::SessionId;
use crate::link::Command;
use crate::records::{Record, RecordsError};
use crate::registry::Registry;
use crate::registry::commands::RestartError;
use crate::registry::slot::Tenure;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::LEASE_RENEWALS;

/// How many sessions are taken over, or written again, at a time.
const STARTS_AT_ONCE: usize = 8;

/// How many leases are written at a time.
const RENEWED_AT_ONCE: usize = 64;

/// Between two sessions that are given away.
const GIVE: Duration = Duration::from_secs(2);

/// Renewals in the time of a lease.
const RENEWALS: u32 = 3;

/// One replica among others.
pub(crate) struct Ownership {
    registry: Arc<Registry>,
    leases: Arc<dyn Leases>,
    /// Until when a lapsed lease is left alone.
    quiet_until: Mutex<Instant>,
    /// There may be a session to take.
    look: Notify,
}

impl Ownership {
    /// Begins. `links`: when it begins to stop, this replica leaves; it then keeps what it still has until `streams`
    /// begins.
    pub(crate) fn start(
        registry: &Arc<Registry>,
        leases: Arc<dyn Leases>,
        links: &Shutdown,
        streams: &Shutdown,
    ) {
        let ownership = Arc::new(Self {
            registry: registry.clone(),
            // Redis may have come back a moment ago.
            quiet_until: Mutex::new(Instant::now() + leases.duration()),
            leases,
            look: Notify::new(),
        });
        streams.spawn_until_begun(ownership.clone().keep(links.clone()));
        links.spawn_until_begun(ownership.clone().claim());
        links.spawn_until_begun(ownership.clone().listen());
        links.spawn_until_begun(ownership.clone().give());
    }

    /// Renews every lease, and says that this replica lives.
    async fn keep(self: Arc<Self>, links: Shutdown) {
        let mut contact = self.leases.contact();
        contact.mark_unchanged();
        let mut data_lost = None;
        let mut tick = interval(self.leases.duration() / RENEWALS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leaving = false;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                changed = contact.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // The code below the `select!` handles the change.
                    contact.mark_changed();
                }
                () = links.begun(), if !leaving => {
                    leaving = true;
                    self.leases.leave().await;
                }
            }
            if contact.has_changed().unwrap_or(false) {
                contact.mark_unchanged();
                if let Storage::Shared { away: None, data_lost: lost } = self.leases.storage() {
                    self.redis_came_back(std::mem::replace(&mut data_lost, lost) == lost).await;
                }
            }
            self.renew(&contact).await;
            if !leaving {
                // The connection logs by itself that Redis is away.
                let _ = self.beat().await;
            }
        }
    }

    async fn beat(&self) -> Result<(), RecordsError> {
        self.leases.beat(&self.registry.viewers_here()).await
    }

    /// Redis is back, the same or another: it may have lost its end, or all.
    async fn redis_came_back(self: &Arc<Self>, same_data: bool) {
        self.be_quiet();
        self.assert_all(self.registry.tenures()).await;
        if !same_data {
            self.registry.parts.shutdown.spawn_until_begun(self.clone().forget_what_is_gone());
        }
    }

    /// From now on for one lease a lapsed lease is left alone.
    fn be_quiet(&self) {
        *self.quiet_until.lock() = Instant::now() + self.leases.duration();
    }

    fn is_quiet(&self) -> bool {
        Instant::now() < *self.quiet_until.lock()
    }

    /// Tells the viewers of each session that no owner has written again.
    async fn forget_what_is_gone(self: Arc<Self>) {
        sleep(self.leases.duration()).await;
        for entry in self.registry.all_here() {
            let id = entry.session.id();
            let runs_here = entry.slot.tenure().is_some();
            if !runs_here && matches!(self.leases.find(id).await, Ok(Whereabouts::Nowhere)) {
                self.registry.forget_mirror(id);
            }
        }
    }

    async fn renew(self: &Arc<Self>, contact: &watch::Receiver<Contact>) {
        let missing = futures::stream::iter(self.registry.tenures())
            .map(async |tenure| self.renew_one(&tenure, contact).await.then_some(tenure))
            .buffer_unordered(RENEWED_AT_ONCE)
            .filter_map(std::future::ready)
            .collect::<Vec<_>>()
            .await;
        if !missing.is_empty() {
            self.assert_all(missing).await;
        }
    }

    /// Whether Redis has lost this ownership.
    async fn renew_one(self: &Arc<Self>, tenure: &Tenure, contact: &watch::Receiver<Contact>) -> bool {
        let (id, begun) = (tenure.session.id(), Instant::now());
        let keeps = || self.keeps(tenure);
        let renewal = self.leases.renew(id, tenure.epoch, &keeps).await;
        let result = match renewal {
            Renewal::Kept { .. } => "kept",
            // Given up or ended since the round began: an ordinary end.
            Renewal::Lost | Renewal::Missing if !keeps() => return false,
            Renewal::Lost => "lost",
            Renewal::Missing => "missing",
            Renewal::Unknown => "away",
        };
        counter!(LEASE_RENEWALS, "result" => result).increment(1);
        if contact.has_changed().unwrap_or(true) {
            // This Redis may lack its newest writes: `redis_came_back` writes them again before any answer counts.
            return false;
        }
        match renewal {
            Renewal::Kept { requested } => {
                tenure.lease.renew(begun + self.leases.duration());
                if requested {
                    self.obey(id);
                }
            }
            Renewal::Lost => {
                warn!(sessionId = %id, epoch = tenure.epoch, "another replica has this session");
                tenure.tell(Command::Leave);
            }
            Renewal::Missing | Renewal::Unknown => {}
        }
        renewal == Renewal::Missing
    }

    /// Writes again what Redis may have lost: the leases first, for they lapse; the rest while these are renewed.
    async fn assert_all(self: &Arc<Self>, tenures: Vec<Tenure>) {
        let ours = futures::stream::iter(tenures)
            .map(async |tenure| self.assert(&tenure).await.then_some(tenure))
            .buffer_unordered(RENEWED_AT_ONCE)
            .filter_map(std::future::ready)
            .collect::<Vec<_>>()
            .await;
        let this = self.clone();
        self.registry.parts.shutdown.spawn_until_begun(async move {
            let restore = async |tenure: Tenure| this.restore(&tenure).await;
            futures::stream::iter(ours).for_each_concurrent(STARTS_AT_ONCE, restore).await;
        });
    }

    /// Writes a record and its lease again; whether the session is still ours.
    async fn assert(&self, tenure: &Tenure) -> bool {
        let (session, begun) = (&tenure.session, Instant::now());
        let id = session.id();
        let deleted = session.snapshot().deleted;
        let record = Record { epoch: tenure.epoch, claimed: true, deleted, ..session.about().clone() };
        match self.leases.reassert(&record).await {
            Ok(true) => {
                tenure.lease.renew(begun + self.leases.duration());
                true
            }
            Ok(false) => {
                warn!(sessionId = %id, epoch = tenure.epoch, "another replica has claimed this session");
                tenure.tell(Command::Leave);
                false
            }
            // Again at the next renewal.
            Err(error) => {
                debug!(sessionId = %id, %error, "a lease was not written again");
                false
            }
        }
    }

    /// Has the device and the end of the log written again.
    async fn restore(&self, tenure: &Tenure) {
        let id = tenure.session.id();
        tenure.tell(Command::Reopen);
        let restored = self.registry.parts.log.restore(id, tenure.epoch, &tenure.session.events()).await;
        if let Err(error) = restored {
            warn!(sessionId = %id, %error, "a log was not written again as a whole");
        }
    }

    /// Hears of sessions that are handed over, and of what others want of those that are owned here.
    async fn listen(self: Arc<Self>) {
        let mut news = self.leases.news();
        while let Some(news) = news.next().await {
            match news {
                News::Released(id) => {
                    let this = self.clone();
                    self.spawn(async move { this.take_released(&id).await });
                }
                News::Requested(id) => self.obey(&id),
                News::Missed => self.look.notify_one(),
            }
        }
    }

    fn obey(self: &Arc<Self>, id: &SessionId) {
        let (this, id) = (self.clone(), id.clone());
        self.spawn(async move {
            match this.registry.obey(&id).await {
                Ok(()) | Err(RestartError::Deleted) => {}
                Err(error) => error!(sessionId = %id, %error, "session error"),
            }
        });
    }

    /// Gives away what is more than this replica's share.
    async fn give(self: Arc<Self>) {
        loop {
            sleep(GIVE).await;
            match self.surplus().await {
                Ok(Some(tenure)) => {
                    info!(sessionId = %tenure.session.id(), "session given to another replica");
                    tenure.tell(Command::HandOver);
                }
                Ok(None) => {}
                Err(error) => debug!(%error, "nothing can be given away"),
            }
        }
    }

    async fn surplus(&self) -> Result<Option<Tenure>, RecordsError> {
        let living = self.leases.living();
        if !share::is_settled(&living) {
            return Ok(None);
        }
        let tenures = self.registry.tenures();
        if tenures.len() <= share::fair(self.leases.claimed().await?, living.len()) {
            return Ok(None);
        }
        let viewers = self.leases.viewers(Viewers::new()).await?;
        let candidate = |tenure: Tenure| {
            let session = &tenure.session;
            let viewers = viewers.get(session.id()).copied().unwrap_or_default();
            let connected = session.status() == Status::Connected;
            connected.then_some(Candidate { what: tenure, viewers })
        };
        Ok(share::to_give(tenures.into_iter().filter_map(candidate)))
    }

    /// Whether this ownership has neither ended nor is being released.
    fn keeps(&self, tenure: &Tenure) -> bool {
        let current = self.registry.tenure(tenure.session.id());
        current.is_some_and(|current| current.epoch == tenure.epoch) && !tenure.lease.is_releasing()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.registry.parts.shutdown.spawn(task);
    }
}
