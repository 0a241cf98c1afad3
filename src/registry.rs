//! All sessions of this process: creates them, starts their link tasks, forgets them.
//!
//! Each has a [`slot::Slot`] that says what this process is to it. `start` begins link tasks, `mirror` shows what others run,
//! `commands` asks things of a session wherever it runs, `feed` tells what happens to any of them, the supervisor and the
//! janitor go round.

pub(crate) mod commands;
mod feed;
pub(crate) mod janitor;
pub(crate) mod mirror;
pub(crate) mod slot;
mod start;
pub(crate) mod supervisor;
mod unattended;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Place;

use self::feed::Feed;
use self::slot::{Entry, Slot, Tenure};
use self::unattended::Unattended;
pub(crate) use crate::cluster::Storage;
use crate::event::{Status, Time};
use crate::id::{SessionId, UserId};
pub(crate) use crate::link::{Ask, Parts, Timers};
use crate::link::{Claim, Command, Start};
use crate::log::LogTail;
use crate::proxy::ProxyUrl;
use crate::receiver::OwnReceiver;
use crate::records::{Created, Record, RecordsError, SessionLimits};
pub(crate) use crate::records::{IdempotencyKey, Judgement};
use crate::session::{Error, Session};
pub(crate) use crate::whatsapp::version::VersionReport;

/// For what must be possible in any case.
const UNLIMITED: SessionLimits = SessionLimits { all: u32::MAX, user: u32::MAX };

/// The sessions, and the parts they stand on.
pub(crate) struct Registry {
    /// An entry goes with [`Registry::remove`], or when it is a mirror that nobody holds.
    slots: DashMap<SessionId, Arc<Slot>>,
    pub(crate) parts: Arc<Parts>,
    /// Those that should have a link task and have none.
    pub(crate) unattended: Unattended,
    pub(crate) feed: Feed,
}

/// What an embedder says of a new session.
#[derive(Clone, Debug)]
pub(crate) struct NewSession {
    /// The user it belongs to.
    pub user: UserId,
    /// What the phone lists the device as.
    pub device_name: Option<String>,
    /// Its own way to WhatsApp.
    pub proxy: Option<ProxyUrl>,
    /// Where its events are sent, and for whom they are signed.
    pub webhook: Option<OwnReceiver>,
    /// The embedder's own notes.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// A phone number to ask a pairing code for, digits only.
    pub phone_number: Option<String>,
}

/// A session that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Creation {
    pub id: SessionId,
    /// Whether it was made now; otherwise the same request had made it before.
    pub is_new: bool,
}

/// How many sessions of this process stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(HashMap<Status, usize>);

impl Counts {
    /// In this status.
    pub(crate) fn of(&self, status: Status) -> usize {
        self.0.get(&status).copied().unwrap_or_default()
    }

    /// Neither ended nor used up.
    pub(crate) fn active(&self) -> usize {
        let over = |status| matches!(status, Status::Disconnected | Status::Failed);
        Status::ALL.into_iter().filter(|status| !over(*status)).map(|status| self.of(status)).sum()
    }
}

impl Registry {
    /// With every session that this process has from its start on. None of them runs yet: see [`Registry::start_all`].
    ///
    /// # Errors
    /// When the records or the logs cannot be read.
    pub(crate) async fn open(parts: Parts) -> Result<Arc<Self>, RecordsError> {
        let feed = Feed::new(parts.log.clone(), parts.streams.clone());
        let (slots, unattended) = Default::default();
        let registry = Self { slots, parts: Arc::new(parts), unattended, feed };
        for record in registry.parts.cluster.at_start().await? {
            let Some(log) = registry.log_of(&record.session).await? else { continue };
            let session = Session::restored(record, None, log, registry.parts.history);
            session.set_owner(registry.parts.cluster.owner_at_rest());
            registry.insert(session);
        }
        Ok(Arc::new(registry))
    }

    /// What a session's log holds; `None` where that, or its device, is damaged. The damage was noted where it was read.
    async fn log_of(&self, id: &SessionId) -> Result<Option<LogTail>, RecordsError> {
        let log = match self.parts.log.read(id).await {
            Ok(log) => Some(log),
            Err(error) if error.is_damage() => None,
            Err(error) => return Err(error.into()),
        };
        let whole = self.parts.whatsapp.is_whole(id).await.map_err(RecordsError::failed)?;
        Ok(log.filter(|_| whole))
    }

    /// How many stored records cannot be read.
    pub(crate) fn damaged(&self) -> usize {
        self.parts.damage.count()
    }

    /// Makes a session and starts its link task; the id of an earlier one where the same was asked for before. Answers
    /// before WhatsApp does.
    pub(crate) async fn create(
        self: &Arc<Self>,
        new: NewSession,
        once: Option<IdempotencyKey>,
    ) -> Result<Creation, Error> {
        let this = self.clone();
        self.finish(async move { this.create_now(new, once).await }).await
    }

    async fn create_now(
        self: &Arc<Self>,
        new: NewSession,
        once: Option<IdempotencyKey>,
    ) -> Result<Creation, Error> {
        let record = Record {
            session: SessionId::new(&new.user),
            created: Time::now(),
            device_name: new.device_name,
            proxy: new.proxy,
            webhook: new.webhook,
            metadata: new.metadata,
            epoch: 0,
            claimed: true,
            deleted: None,
        };
        let lease = self.parts.cluster.lease();
        let epoch = match self.parts.records.create(record.clone(), self.parts.limits, once).await? {
            Created::New(epoch) => epoch,
            Created::Existing(id) => return Ok(Creation { id, is_new: false }),
        };
        let id = record.session.clone();
        let entry = self.insert(Session::new(Record { epoch, ..record }, self.parts.history));
        let code = new.phone_number.map(|phone_number| Command::Ask(Ask::Code { phone_number }));
        let mut past = entry.slot.change.lock().await;
        self.begin(&entry, &mut past, Start::of(Claim { epoch, lease }), code);
        drop(past);
        Ok(Creation { id, is_new: true })
    }

    /// How the store is.
    pub(crate) fn storage(&self) -> Storage {
        self.parts.cluster.storage()
    }

    /// Whether the store takes what is written, and can be read.
    pub(crate) fn judgement(&self) -> Judgement {
        self.parts.records.health().borrow().clone()
    }

    /// Whether something can be stored now.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn check_storage(&self) -> Result<(), Error> {
        Ok(self.parts.records.check().await?)
    }

    /// Which version of WhatsApp Web new clients claim, and how good that is.
    pub(crate) fn whatsapp_version(&self) -> VersionReport {
        self.parts.whatsapp.version()
    }

    /// How many sessions stand where.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for session in self.run_here() {
            *counts.0.entry(session.status()).or_default() += 1;
        }
        counts
    }

    /// The sessions that this process answers for: those that it owns, and where it has all of them also those that do not run.
    fn run_here(&self) -> impl Iterator<Item = Arc<Session>> {
        let me = self.parts.cluster.me();
        self.slots.iter().filter_map(move |slot| slot.answered_for(me))
    }

    /// How many sessions of this process a phone has linked, and nothing more has been heard of for this long.
    pub(crate) fn waiting_for_login(&self, longer_than: Duration, now: Time) -> usize {
        // The word first: this is asked every second, and the state of each session is a copy.
        let authenticated = self.run_here().filter(|session| session.status() == Status::Authenticated);
        authenticated.filter(|session| session.snapshot().state.since.elapsed(now) > longer_than).count()
    }

    /// A session that is here.
    pub(crate) fn known(&self, id: &SessionId) -> Option<Entry> {
        let slot = self.slots.get(id)?.clone();
        let session = slot.session()?;
        Some(Entry { session, slot })
    }

    pub(crate) fn all_here(&self) -> Vec<Entry> {
        let entry = |slot: &Arc<Slot>| Some(Entry { session: slot.session()?, slot: slot.clone() });
        self.slots.iter().filter_map(|slot| entry(&slot)).collect()
    }

    /// The ownership of a session whose link task runs here.
    pub(crate) fn tenure(&self, id: &SessionId) -> Option<Tenure> {
        self.slots.get(id)?.tenure()
    }

    /// Whether its link task runs here, and no other replica can have the session.
    pub(crate) fn is_surely_owned(&self, id: &SessionId) -> bool {
        self.slots.get(id).is_some_and(|slot| slot.is_surely_owned())
    }

    /// Every ownership of this process.
    pub(crate) fn tenures(&self) -> Vec<Tenure> {
        self.slots.iter().filter_map(|slot| slot.tenure()).collect()
    }

    /// The sessions whose link task runs here.
    pub(crate) fn running(&self) -> Vec<SessionId> {
        self.tenures().iter().map(|tenure| tenure.session.id().clone()).collect()
    }

    /// Once this process leaves: whether no other one can serve its viewers, as far as is known.
    pub(crate) async fn is_last(&self) -> bool {
        self.parts.cluster.is_last().await
    }

    /// How many sessions a stop could not release; the log names each.
    pub(crate) fn not_released(&self) -> usize {
        self.parts.not_released.load(Ordering::Relaxed)
    }

    /// Whether a link task runs this session: here for certain, elsewhere as far as its owner's lease says.
    pub(crate) fn is_attended(&self, id: &SessionId, owner: Option<&str>) -> bool {
        owner.is_some_and(|owner| owner != self.parts.cluster.me() || self.tenure(id).is_some())
    }

    pub(crate) fn insert(&self, session: Session) -> Entry {
        let (id, new) = (session.id().clone(), Entry::new(session));
        match self.slots.entry(id) {
            Place::Occupied(mut there) => match there.get().session() {
                // Another request was faster.
                Some(session) => Entry { session, slot: there.get().clone() },
                None => {
                    there.insert(new.slot.clone());
                    new
                }
            },
            Place::Vacant(place) => {
                place.insert(new.slot.clone());
                new
            }
        }
    }
}
