//! Sessions that another replica runs, or nobody: read from the shared state, followed as long as somebody watches
//! here. Every call and stream finds its session with [`Registry::find`].

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;

use super::Registry;
use super::slot::{Entry, Follower};
use crate::cluster::{Viewers, Whereabouts};
use crate::event::{Cursor, Kind, Status};
use crate::id::SessionId;
use crate::log::{Followed, LogTail};
use crate::records::{RecordsError, SessionInfo};
use crate::session::{Error, Session};

/// How often a mirror that nobody holds is let go.
const MIRROR_SWEEP: Duration = Duration::from_secs(10);

/// Sessions that are read at a time.
const READS_AT_ONCE: usize = 32;

/// Which sessions to list.
pub(crate) struct Page<'a> {
    /// Whether a session of this id is asked for.
    pub takes: &'a (dyn Fn(&SessionId) -> bool + Sync),
    /// Only those that stand there.
    pub status: Option<Status>,
    /// How many at most.
    pub limit: usize,
}

impl Registry {
    /// The session of this id, wherever it runs.
    ///
    /// # Errors
    /// Where others run sessions as well and nobody can be asked just now.
    pub(crate) async fn find(self: &Arc<Self>, id: &SessionId) -> Result<Option<Arc<Session>>, Error> {
        Ok(self.lookup(id).await?.map(|entry| entry.session))
    }

    pub(crate) async fn lookup(self: &Arc<Self>, id: &SessionId) -> Result<Option<Entry>, RecordsError> {
        if self.is_surely_owned(id) {
            return Ok(self.known(id));
        }
        match self.parts.cluster.find(id).await {
            Ok(Whereabouts::Here) => match self.known(id) {
                None if self.parts.damage.is_about(id) => Err(RecordsError::damaged()),
                known => Ok(known),
            },
            Ok(Whereabouts::Shared(found)) => self.mirror(*found).await.map(Some),
            Ok(Whereabouts::Nowhere) => {
                self.forget_mirror(id);
                Ok(None)
            }
            // Nobody can be asked: the process that had it last knows most.
            Err(_) if self.tenure(id).is_some() => Ok(self.known(id)),
            Err(error) => Err(error),
        }
    }

    /// The sessions of a page, in the order of their ids, and whether there are more.
    ///
    /// # Errors
    /// See [`Registry::find`].
    pub(crate) async fn list(&self, page: Page<'_>) -> Result<(Vec<Arc<Session>>, bool), Error> {
        let mut ids = self.ids().await?;
        ids.retain(|id| (page.takes)(id));
        ids.sort_unstable();
        let read = futures::stream::iter(ids).map(async |id| self.peek(&id).await).buffered(READS_AT_ONCE);
        let mut read = std::pin::pin!(read);
        let mut sessions = Vec::new();
        while let Some(session) = read.next().await {
            let session = match session {
                Ok(Some(session)) => session,
                Ok(None) => continue,
                // Noted where it was read: the others are shown.
                Err(error) if error.is_damage() => continue,
                Err(error) => return Err(error.into()),
            };
            if page.status.is_some_and(|status| status != session.snapshot().state.status) {
                continue;
            }
            if sessions.len() == page.limit {
                return Ok((sessions, true));
            }
            sessions.push(session);
        }
        Ok((sessions, false))
    }

    /// How many viewers each session has, over all replicas.
    ///
    /// # Errors
    /// See [`Registry::find`].
    pub(crate) async fn viewers(&self) -> Result<Viewers, Error> {
        Ok(self.parts.cluster.viewers(self.viewers_here()).await?)
    }

    pub(crate) fn viewers_here(&self) -> Viewers {
        let sessions = self.slots.iter().filter_map(|slot| slot.session());
        let counts = sessions.map(|session| (session.id().clone(), session.viewers()));
        counts.filter(|(_, viewers)| *viewers > 0).collect()
    }

    /// Every session there is, in no order.
    pub(crate) async fn ids(&self) -> Result<Vec<SessionId>, RecordsError> {
        self.parts.cluster.sessions(self.slots.iter().map(|slot| slot.key().clone()).collect()).await
    }

    /// A session as it stands now, with no more of its log than the end.
    pub(crate) async fn peek(&self, id: &SessionId) -> Result<Option<Arc<Session>>, RecordsError> {
        let here = || self.known(id).map(|entry| entry.session);
        if self.is_surely_owned(id) {
            return Ok(here());
        }
        let found = match self.parts.cluster.find(id).await? {
            Whereabouts::Here => return Ok(here()),
            Whereabouts::Shared(found) => found,
            Whereabouts::Nowhere => return Ok(None),
        };
        let log = LogTail { events: self.parts.log.last(id).await?.into_iter().collect(), trimmed: None };
        Ok(Some(Arc::new(Session::restored(found.record, found.owner, log, 1))))
    }

    /// What was found, as a session that goes on with the log as long as somebody holds it.
    pub(crate) async fn mirror(self: &Arc<Self>, found: SessionInfo) -> Result<Entry, RecordsError> {
        let id = &found.record.session;
        let entry = match self.known(id) {
            Some(entry) => entry,
            None => {
                let log = self.read_log(id).await?;
                self.insert_found(&found, log)
            }
        };
        if entry.session.snapshot().last < found.last {
            entry.session.absorb(self.read_log(id).await?);
        }
        if entry.slot.tenure().is_none() {
            entry.session.learn(&found);
            self.rest(&entry);
        }
        Ok(entry)
    }

    async fn read_log(&self, id: &SessionId) -> Result<LogTail, RecordsError> {
        let log = self.parts.log.read(id).await?;
        // The log keeps the string of a QR for a while after it was scanned or has expired; such a QR is not drawn.
        let shows_qr = log.events.last().is_some_and(|last| last.state.status == Status::ScanQr);
        if shows_qr && let Some(qr) = log.events.iter().rfind(|event| matches!(event.kind, Kind::Qr(_))) {
            qr.drawn().await;
        }
        Ok(log)
    }

    /// What was found, as a session that is about to be claimed: its log is read after that.
    pub(crate) fn slot_of(&self, found: &SessionInfo) -> Entry {
        self.known(&found.record.session).unwrap_or_else(|| self.insert_found(found, LogTail::default()))
    }

    fn insert_found(&self, found: &SessionInfo, log: LogTail) -> Entry {
        let (record, owner) = (found.record.clone(), found.owner.clone());
        self.insert(Session::restored(record, owner, log, self.parts.history))
    }

    /// No link task runs here: where another process may write the session, this one follows.
    pub(crate) fn rest(self: &Arc<Self>, entry: &Entry) {
        if self.parts.cluster.owner_at_rest().is_some() {
            return;
        }
        entry.slot.follow(|session| {
            let (stop, registry, session) = (CancellationToken::new(), self.clone(), session.clone());
            let (stopped, weak) = (stop.clone(), Arc::downgrade(&session));
            self.parts.streams.spawn_until_begun(async move {
                // `None`: a link task runs here from now on, or the session is gone.
                let _ = stopped.run_until_cancelled(registry.follow(session)).await;
            });
            Follower { session: weak, _stop: stop.drop_guard() }
        });
    }

    /// The store no longer knows this session: its viewers are sent away, and hear it on coming back.
    pub(crate) fn forget_mirror(&self, id: &SessionId) {
        let removed = self.slots.remove_if(id, |_, slot| slot.tenure().is_none());
        if let Some(session) = removed.and_then(|(_, slot)| slot.session()) {
            // A cursor that no viewer has.
            session.cut(Cursor::start_of(0));
        }
    }

    /// Takes everything that others write, until nobody else holds the session.
    async fn follow(self: Arc<Self>, mut session: Arc<Session>) {
        let id = session.id().clone();
        let mut followed = self.parts.log.follow(id.clone(), session.snapshot().last);
        let mut sweep = interval_at(Instant::now() + MIRROR_SWEEP, MIRROR_SWEEP);
        loop {
            tokio::select! {
                next = followed.next() => match next {
                    Some(Followed::Event(event)) => {
                        event.drawn().await;
                        session.record(event);
                    }
                    Some(Followed::Cut(at)) => session.cut(at),
                    Some(Followed::Gone) => return self.forget_mirror(&id),
                    // The store is closed.
                    None => return,
                },
                _ = sweep.tick() => {
                    let weak = Arc::downgrade(&session);
                    drop(session);
                    match weak.upgrade() {
                        Some(still_used) => session = still_used,
                        None => {
                            self.slots.remove_if(&id, |_, slot| slot.session().is_none());
                            return;
                        }
                    }
                }
            }
        }
    }
}
