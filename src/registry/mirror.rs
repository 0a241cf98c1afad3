//! Sessions that another replica runs, or nobody: read from the shared state, followed as long as somebody watches here.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{Entry, Registry};
use crate::event::{Cursor, Status};
use crate::id::SessionId;
use crate::log::{Followed, LogTail};
use crate::records::{Found, RecordsError, Viewers};
use crate::session::Session;

/// How often a mirror is asked whether anybody still needs it.
const LOOK: Duration = Duration::from_secs(10);

/// Sessions that are read at a time.
const AT_ONCE: usize = 32;

/// Which sessions to list.
pub struct Page<'a> {
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
    pub async fn find(self: &Arc<Self>, id: &SessionId) -> Result<Option<Arc<Session>>, RecordsError> {
        Ok(self.entry(id).await?.map(|entry| entry.session.clone()))
    }

    pub(crate) async fn entry(self: &Arc<Self>, id: &SessionId) -> Result<Option<Arc<Entry>>, RecordsError> {
        let Some(leases) = &self.parts.leases else {
            return match self.known(id) {
                None if self.parts.damage.is_about(id) => Err(RecordsError::damaged()),
                known => Ok(known),
            };
        };
        if self.is_owned(id) {
            return Ok(self.known(id));
        }
        match leases.find(id).await {
            Ok(Some(found)) => self.mirror(self.believe(found)).await.map(Some),
            Ok(None) => {
                self.forget_mirror(id);
                Ok(None)
            }
            // Nobody can be asked: whoever had it last knows most.
            Err(_) if self.had(id) => Ok(self.known(id)),
            Err(error) => Err(error),
        }
    }

    /// In the time of grace after the store came back, a lapsed lease says nothing of its owner.
    fn believe(&self, found: Found) -> Found {
        let back = self.store.as_ref().and_then(|store| store.look().back);
        match &self.parts.leases {
            Some(leases) if back.is_some_and(|at| at.elapsed() < leases.lease()) => {
                Found { owner: found.owner.or_else(|| found.last_owner.clone()), ..found }
            }
            _ => found,
        }
    }

    /// The sessions of a page, in the order of their ids, and whether there are more.
    ///
    /// # Errors
    /// See [`Registry::find`].
    pub async fn list(&self, page: Page<'_>) -> Result<(Vec<Arc<Session>>, bool), RecordsError> {
        let mut ids = self.ids().await?;
        ids.retain(|id| (page.takes)(id));
        ids.sort_unstable();
        let read = futures::stream::iter(ids).map(async |id| self.peek(&id).await).buffered(AT_ONCE);
        let mut read = std::pin::pin!(read);
        let mut sessions = Vec::new();
        while let Some(session) = read.next().await {
            let session = match session {
                Ok(Some(session)) => session,
                Ok(None) => continue,
                // Noted where it was read: the others are shown.
                Err(error) if error.is_damage() => continue,
                Err(error) => return Err(error),
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
    pub async fn viewers(&self) -> Result<Viewers, RecordsError> {
        match &self.parts.leases {
            Some(leases) => leases.viewers().await,
            None => Ok(self.viewers_here()),
        }
    }

    pub(crate) fn viewers_here(&self) -> Viewers {
        let counts = self.sessions.iter().map(|entry| (entry.key().clone(), entry.session.viewers()));
        counts.filter(|(_, viewers)| *viewers > 0).collect()
    }

    /// Every session there is, in no order.
    pub(crate) async fn ids(&self) -> Result<Vec<SessionId>, RecordsError> {
        match &self.parts.leases {
            Some(leases) => leases.sessions().await,
            None => Ok(self.sessions.iter().map(|entry| entry.key().clone()).collect()),
        }
    }

    /// A session as it stands now, with no more of its log than the end.
    pub(crate) async fn peek(&self, id: &SessionId) -> Result<Option<Arc<Session>>, RecordsError> {
        let leases = match &self.parts.leases {
            Some(leases) if !self.is_owned(id) => leases,
            _ => return Ok(self.known(id).map(|entry| entry.session.clone())),
        };
        let Some(found) = leases.find(id).await? else { return Ok(None) };
        let Found { record, owner, .. } = self.believe(found);
        let log = LogTail { events: self.parts.log.last(id).await?.into_iter().collect(), trimmed: None };
        Ok(Some(Arc::new(Session::restored(record, owner, log, 1))))
    }

    /// What was found, as a session that goes on with the log as long as somebody holds it.
    pub(crate) async fn mirror(self: &Arc<Self>, found: Found) -> Result<Arc<Entry>, RecordsError> {
        let id = found.record.session.clone();
        let entry = match self.known(&id) {
            Some(entry) => entry,
            None => {
                let log = self.parts.log.read(&id).await?;
                let (record, owner) = (found.record.clone(), found.owner.clone());
                self.insert(Session::restored(record, owner, log, self.parts.history))
            }
        };
        if entry.session.snapshot().last < found.last {
            entry.session.absorb(self.parts.log.read(&id).await?);
        }
        if !self.had(&id) {
            entry.session.learn(&found);
            self.follow(entry.clone());
        }
        Ok(entry)
    }

    /// A link task has ended here: whoever watches is told what the next owner writes.
    pub(crate) fn become_mirror(self: &Arc<Self>, entry: Arc<Entry>) {
        entry.session.set_owner(None);
        self.follow(entry);
    }

    /// Redis knows this session no more: whoever watches is sent away, and hears it on coming back.
    pub(crate) fn forget_mirror(&self, id: &SessionId) {
        let removed = self.sessions.remove_if(id, |id, _| !self.had(id));
        if let Some((_, entry)) = removed {
            entry.following().take();
            // Where nobody is.
            entry.session.cut(Cursor::start_of(0));
        }
    }

    fn follow(self: &Arc<Self>, entry: Arc<Entry>) {
        let stop = {
            let mut following = entry.following();
            if following.is_some() {
                return;
            }
            let stop = CancellationToken::new();
            *following = Some(stop.clone().drop_guard());
            stop
        };
        let registry = self.clone();
        self.parts.streams.spawn_until_begun(async move {
            // `None`: a link task runs here from now on.
            let _ = stop.run_until_cancelled(registry.go_on(&entry)).await;
        });
    }

    /// Hears of everything that others write, until nobody needs it here.
    async fn go_on(&self, entry: &Arc<Entry>) {
        let session = &entry.session;
        let mut followed = self.parts.log.follow(session.id().clone(), session.snapshot().last);
        let mut look = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
        loop {
            tokio::select! {
                next = followed.next() => match next {
                    Some(Followed::Event(event)) => {
                        session.record(event);
                    }
                    Some(Followed::Cut(at)) => session.cut(at),
                    Some(Followed::Gone) => return self.forget_mirror(session.id()),
                    // The store is closed.
                    None => return,
                },
                _ = look.tick() => {
                    // Under the map's lock, where nobody can come for it: it has one handle, this task has the other.
                    let unused = |_: &SessionId, there: &Arc<Entry>| {
                        Arc::ptr_eq(there, entry)
                            && Arc::strong_count(there) == 2
                            && Arc::strong_count(&there.session) == 1
                    };
                    if self.sessions.remove_if(session.id(), unused).is_some() {
                        return;
                    }
                }
            }
        }
    }
}
