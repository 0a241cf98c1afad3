//! Which sessions this replica owns, where there are others: keeps its leases, takes over what nobody runs, gives away
//! what is more than its share.
//!
//! Redis is the only authority. A replica that cannot reach it claims nothing, and after Redis came back nobody takes a
//! lapsed lease for one lease: its owner may live and have had no way to renew it.

mod share;
mod take;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use metrics::counter;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::share::Candidate;
use crate::cluster::contact::StoreContact;
use crate::event::Status;
use crate::id::SessionId;
use crate::link::Command;
use crate::records::{Contact, Leases, News, Record, RecordsError, Renewal, Replica};
use crate::registry::commands::RestartError;
use crate::registry::{Hold, Registry};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::LEASE_RENEWALS;

/// How many sessions are taken over, or written again, at a time.
const AT_ONCE: usize = 8;

/// How many leases are written at a time.
const RENEWED_AT_ONCE: usize = 64;

/// Between two sessions that are given away.
const GIVE: Duration = Duration::from_secs(2);

/// How long is waited for what Redis says to a replica that leaves.
const LEAVING: Duration = Duration::from_millis(500);

/// Renewals in the time of a lease.
const RENEWALS: u32 = 3;

/// One replica among others.
pub struct Ownership {
    registry: Arc<Registry>,
    leases: Arc<dyn Leases>,
    living: Mutex<Vec<Replica>>,
    /// Until when a lapsed lease is left alone.
    quiet_until: Mutex<Instant>,
    /// There may be a session to take.
    look: Notify,
    /// Redis was told that this replica leaves, or did not answer.
    left: CancellationToken,
}

impl Ownership {
    /// Begins. `links`: when it begins to stop, this replica leaves; it then keeps what it still has until `streams`
    /// begins.
    pub fn start(
        registry: &Arc<Registry>,
        leases: Arc<dyn Leases>,
        links: &Shutdown,
        streams: &Shutdown,
    ) -> Arc<Self> {
        let ownership = Arc::new(Self {
            registry: registry.clone(),
            living: Mutex::new(Vec::new()),
            // Redis may have come back a moment ago.
            quiet_until: Mutex::new(Instant::now() + leases.lease()),
            leases,
            look: Notify::new(),
            left: CancellationToken::new(),
        });
        streams.spawn_until_begun(ownership.clone().keep(links.clone()));
        links.spawn_until_begun(ownership.clone().claim());
        links.spawn_until_begun(ownership.clone().listen());
        links.spawn_until_begun(ownership.clone().give());
        ownership
    }

    /// Once this replica leaves: whether no other one lives, as far as is known.
    pub async fn is_alone(&self) -> bool {
        // While Redis is away the answer to the last beat counts.
        let _ = timeout(LEAVING, self.left.cancelled()).await;
        self.living().iter().all(|replica| replica.name == self.registry.parts.replica)
    }

    /// Renews every lease, and says that this replica lives.
    async fn keep(self: Arc<Self>, links: Shutdown) {
        let mut contact = self.leases.contact();
        contact.mark_unchanged();
        let mut data_lost = None;
        let mut tick = interval(self.leases.lease() / RENEWALS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leaving = false;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                changed = contact.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // It is looked at below.
                    contact.mark_changed();
                }
                () = links.begun(), if !leaving => {
                    leaving = true;
                    // The others would know by its next beat.
                    if let Ok(living) = self.leases.leave().await {
                        *self.living() = living;
                    }
                    self.left.cancel();
                }
            }
            if contact.has_changed().unwrap_or(false) {
                contact.mark_unchanged();
                let store = self.registry.store.as_ref().map(StoreContact::look).unwrap_or_default();
                if store.away.is_none() {
                    self.is_back(std::mem::replace(&mut data_lost, store.data_lost) == store.data_lost).await;
                }
            }
            self.renew(&contact).await;
            if !leaving {
                // It says so itself when Redis is away.
                let _ = self.beat().await;
            }
        }
    }

    async fn beat(&self) -> Result<(), RecordsError> {
        let living = self.leases.beat(&self.registry.viewers_here()).await?;
        *self.living() = living;
        Ok(())
    }

    /// Redis is back, the same or another: it may have lost its end, or all.
    async fn is_back(self: &Arc<Self>, same_data: bool) {
        self.be_quiet();
        self.assert_all(self.registry.held()).await;
        if !same_data {
            self.registry.parts.shutdown.spawn_until_begun(self.clone().forget_what_is_gone());
        }
    }

    /// From now on for one lease a lapsed lease is left alone.
    fn be_quiet(&self) {
        *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner) =
            Instant::now() + self.leases.lease();
    }

    fn is_quiet(&self) -> bool {
        Instant::now() < *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that watch a session which nobody has written again are told.
    async fn forget_what_is_gone(self: Arc<Self>) {
        sleep(self.leases.lease()).await;
        for id in self.registry.sessions.iter().map(|entry| entry.key().clone()).collect::<Vec<_>>() {
            if !self.registry.had(&id) && matches!(self.leases.find(&id).await, Ok(None)) {
                self.registry.forget_mirror(&id);
            }
        }
    }

    async fn renew(self: &Arc<Self>, contact: &watch::Receiver<Contact>) {
        let missing = futures::stream::iter(self.registry.held())
            .map(async |(id, hold)| self.renew_one(&id, &hold, contact).await.then_some((id, hold)))
            .buffer_unordered(RENEWED_AT_ONCE)
            .filter_map(std::future::ready)
            .collect::<Vec<_>>()
            .await;
        if !missing.is_empty() {
            self.assert_all(missing).await;
        }
    }

    /// Whether Redis has lost this ownership.
    async fn renew_one(
        self: &Arc<Self>,
        id: &SessionId,
        hold: &Hold,
        contact: &watch::Receiver<Contact>,
    ) -> bool {
        let begun = Instant::now();
        let renewal = self.leases.renew(id, hold.epoch, &|| self.registry.keeps(id, hold)).await;
        let result = match renewal {
            Renewal::Held { .. } => "kept",
            // Given up or ended since the round began: an ordinary end.
            Renewal::Lost | Renewal::Missing if !self.registry.keeps(id, hold) => return false,
            Renewal::Lost => "lost",
            Renewal::Missing => "missing",
            Renewal::Unknown => "away",
        };
        counter!(LEASE_RENEWALS, "result" => result).increment(1);
        if contact.has_changed().unwrap_or(true) {
            // The answer may come from a Redis that has lost its end: it is told first.
            return false;
        }
        match renewal {
            Renewal::Held { wished } => {
                hold.lease.renew(begun + self.leases.lease());
                if wished {
                    self.obey(id);
                }
            }
            Renewal::Lost => {
                warn!(sessionId = %id, epoch = hold.epoch, "another replica has this session");
                hold.leave();
            }
            Renewal::Missing | Renewal::Unknown => {}
        }
        renewal == Renewal::Missing
    }

    /// Writes again what Redis may have lost: the leases first, for they lapse; the rest while these are renewed.
    async fn assert_all(self: &Arc<Self>, held: Vec<(SessionId, Hold)>) {
        let ours = futures::stream::iter(held)
            .map(async |(id, hold)| self.assert(&id, &hold).await.then_some((id, hold)))
            .buffer_unordered(RENEWED_AT_ONCE)
            .filter_map(std::future::ready)
            .collect::<Vec<_>>()
            .await;
        let this = self.clone();
        self.registry.parts.shutdown.spawn_until_begun(async move {
            let restore = async |(id, hold): (SessionId, Hold)| this.restore(&id, &hold).await;
            futures::stream::iter(ours).for_each_concurrent(AT_ONCE, restore).await;
        });
    }

    /// Writes a record and its lease again; whether the session is still ours.
    async fn assert(&self, id: &SessionId, hold: &Hold) -> bool {
        let Some(entry) = self.registry.known(id) else { return false };
        let (session, begun) = (&entry.session, Instant::now());
        let deleted = session.snapshot().deleted;
        let record = Record { epoch: hold.epoch, claimed: true, deleted, ..session.about().clone() };
        match self.leases.reassert(&record).await {
            Ok(true) => {
                hold.lease.renew(begun + self.leases.lease());
                true
            }
            Ok(false) => {
                warn!(sessionId = %id, epoch = hold.epoch, "another replica has claimed this session");
                hold.leave();
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
    async fn restore(&self, id: &SessionId, hold: &Hold) {
        let Some(entry) = self.registry.known(id) else { return };
        // Ended just now: so much the better.
        let _ = hold.commands.send(Command::Reopen);
        let restored = self.registry.parts.log.restore(id, hold.epoch, &entry.session.events()).await;
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
                News::Wished(id) => self.obey(&id),
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
                Ok(Some((id, hold))) => {
                    info!(sessionId = %id, "session given to another replica");
                    // Ended just now: so much the better.
                    let _ = hold.commands.send(Command::HandOver);
                }
                Ok(None) => {}
                Err(error) => debug!(%error, "nothing can be given away"),
            }
        }
    }

    async fn surplus(&self) -> Result<Option<(SessionId, Hold)>, RecordsError> {
        let living = self.living().clone();
        let held = self.registry.held();
        if !share::is_settled(&living) {
            return Ok(None);
        }
        if held.len() <= share::fair(self.leases.claimed().await?, living.len()) {
            return Ok(None);
        }
        let viewers = self.leases.viewers().await?;
        let candidate = |(id, hold): &(SessionId, Hold)| {
            let state = self.registry.known(id)?.session.snapshot().state;
            let connected = state.status == Status::Connected;
            let viewers = viewers.get(id).copied().unwrap_or_default();
            connected.then(|| Candidate { what: (id.clone(), hold.clone()), viewers })
        };
        Ok(share::to_give(held.iter().filter_map(candidate)))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.registry.parts.shutdown.spawn(task);
    }

    fn living(&self) -> std::sync::MutexGuard<'_, Vec<Replica>> {
        // Nothing panics while it is held.
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    fn leave(&self) {
        // Ended just now: so much the better.
        let _ = self.commands.send(Command::Leave);
    }
}
