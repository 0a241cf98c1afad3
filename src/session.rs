//! A session in this process: its state, the end of its log, and its viewers.
//!
//! [`Session::record`], [`Session::watch`] and [`Session::follow`] are the only doors. The owner's runner records what it has stored;
//! streams watch from a cursor on, and follow. It knows no store and no socket.

mod audience;
mod error;
mod history;
pub(crate) mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::broadcast;

pub(crate) use self::audience::{Audience, Fanout, Listener, Seat};
pub(crate) use self::error::Error;
use self::history::History;
use crate::event::{Cursor, Event, Kind, Me, Reason, State, Status, Time};
use crate::id::SessionId;
use crate::log::LogTail;
use crate::records::{Record, SessionInfo};

/// The `detail` of a `disconnected` that a restart makes.
pub(crate) const RESTART: &str = "restart";

/// How many events a session's fan-out may be behind before its listeners read them from the history instead.
const LIVE_EVENTS: usize = 16;

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    record: Record,
    inner: Mutex<Inner>,
    audience: Audience,
}

#[derive(Debug)]
struct Inner {
    state: State,
    history: History,
    deleted: Option<Time>,
    /// Nothing of a deleted session's device is left.
    erased: bool,
    /// The replica that runs its link task.
    owner: Option<String>,
}

/// What a session is at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Where it stands.
    pub state: State,
    /// Its last event's id.
    pub last: Option<Cursor>,
    /// The QR that can be scanned now.
    pub qr: Option<Arc<Event>>,
    /// The step of a passkey that waits now.
    pub passkey: Option<Arc<Event>>,
    /// When somebody deleted it.
    pub deleted: Option<Time>,
    /// The replica that runs its link task; `None` while nobody does.
    pub owner: Option<String>,
}

/// What a viewer is told first, and how it hears the rest. Both were taken at one moment: no gap, nothing twice.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Where the session stands.
    pub state: State,
    /// Whether the replay begins right after the viewer's cursor.
    pub resumed: bool,
    /// Whether the viewer has a cursor that is too old or unknown.
    pub gap: bool,
    /// Where the log ends.
    pub last: Option<Cursor>,
    /// What the viewer has missed.
    pub replay: Vec<Arc<Event>>,
    /// What comes next.
    pub live: broadcast::Receiver<Arc<Event>>,
}

impl Session {
    /// A session without events. `history` is how many events it keeps for returning viewers.
    pub(crate) fn new(record: Record, history: u32) -> Self {
        Self::restored(record, None, LogTail::default(), history)
    }

    /// A session with the events that its log still holds, and the replica that runs its link task now.
    pub(crate) fn restored(record: Record, owner: Option<String>, log: LogTail, history: u32) -> Self {
        let last = log.events.last();
        let state = state_of(&record, last, owner.is_some());
        // Without its client nobody can scan or type what the log shows.
        let on_screen = owner.is_some() && last.is_some_and(|last| last.at.epoch >= record.epoch);
        let mut history = History::restored(log, history);
        if !on_screen {
            history.clear_screen();
        }
        let deleted = record.deleted;
        let erased = is_erased(&record);
        let inner = Inner { state, history, deleted, erased, owner };
        Self { record, inner: Mutex::new(inner), audience: Audience::new(LIVE_EVENTS) }
    }

    /// What the deployment knows of a session that another replica runs, or nobody.
    pub(crate) fn learn(&self, found: &SessionInfo) {
        let mut inner = self.inner();
        inner.owner.clone_from(&found.owner);
        inner.deleted = inner.deleted.or(found.record.deleted);
        inner.erased = is_erased(&found.record);
        let last = inner.history.last().cloned();
        inner.state = state_of(&found.record, last.as_ref(), found.owner.is_some());
        if found.owner.is_none() || last.is_none_or(|last| last.at.epoch < found.record.epoch) {
            inner.history.clear_screen();
        }
    }

    /// Its last owner has left, and its next one has not begun: nobody can scan what is on screen, and nobody is told
    /// `connected`.
    pub(crate) fn owner_left(&self, record: &Record) {
        let mut inner = self.inner();
        inner.history.clear_screen();
        let last = inner.history.last().cloned();
        inner.state = state_of(record, last.as_ref(), false);
    }

    /// Whether this replica runs its link task, or would.
    pub(crate) fn is_owned_by(&self, replica: &str) -> bool {
        self.inner().owner.as_deref() == Some(replica)
    }

    /// Who runs its link task from now on.
    pub(crate) fn set_owner(&self, owner: Option<String>) {
        self.inner().owner = owner;
    }

    /// Nobody can scan or type any more what is on screen: its client stops.
    pub(crate) fn clear_screen(&self) {
        self.inner().history.clear_screen();
    }

    /// Events up to this one were missed and are kept nowhere. Its viewers are sent away; when they come back they are
    /// told of the gap.
    pub(crate) fn cut(&self, at: Cursor) {
        let mut inner = self.inner();
        inner.history.cut(at);
        self.audience.cut();
    }

    /// A link task begins, or begins anew with new keys: what was on screen and what had ended is over.
    pub(crate) fn restart(&self, me: Option<Me>) {
        let mut inner = self.inner();
        inner.history.clear_screen();
        let linked = inner.state.linked && me.is_some();
        // What was missing still is, as long as it is the same device.
        let missing = inner.state.missing.filter(|_| me.is_some());
        inner.state = State { linked, missing, ..State::initializing(Time::now(), me) };
    }

    /// Somebody deleted it. False when somebody had before.
    pub(crate) fn mark_deleted(&self, at: Time) -> bool {
        let mut inner = self.inner();
        let first = inner.deleted.is_none();
        inner.deleted.get_or_insert(at);
        first
    }

    /// Its device is logged out, and its keys are forgotten.
    pub(crate) fn mark_erased(&self) {
        self.inner().erased = true;
    }

    /// Whether it should have a link task: it waits for a phone, or is linked, or its device is still to be logged out.
    pub(crate) fn needs_task(&self) -> bool {
        let inner = self.inner();
        if inner.deleted.is_some() { !inner.erased } else { inner.state.runs() }
    }

    /// Its id.
    pub(crate) fn id(&self) -> &SessionId {
        &self.record.session
    }

    /// What is known of it from its creation on.
    pub(crate) fn about(&self) -> &Record {
        &self.record
    }

    /// Takes an event that is stored, and tells everyone who watches. Refuses one that is not newer than the last, so
    /// duplicates, echoes and a fenced owner are harmless.
    pub(crate) fn record(&self, event: Arc<Event>) -> bool {
        let mut inner = self.inner();
        if inner.history.last().is_some_and(|last| event.at <= last.at) {
            return false;
        }
        inner.state = event.state.clone();
        inner.history.push(event.clone());
        // Read late from a log that keeps the string of the newest QR only: nothing to show.
        if !event.is_blank() {
            // Under the lock, so that a viewer's replay and its receiver meet without a gap.
            self.audience.tell(event);
        }
        true
    }

    /// Takes what a log has and this session has not.
    pub(crate) fn absorb(&self, log: LogTail) {
        let last = self.snapshot().last;
        match log.trimmed {
            // Nothing of it was known here.
            Some(cut) if last.is_none() => self.inner().history.begin_after(cut),
            Some(cut) if last < Some(cut) => self.cut(cut),
            Some(_) | None => {}
        }
        for event in log.events {
            self.record(event);
        }
    }

    /// Begins to watch, from after a cursor or from now.
    pub(crate) fn watch(&self, after: Option<Cursor>) -> Watch {
        let now = Time::now();
        let inner = self.inner();
        let missed = after.and_then(|cursor| inner.history.after(cursor, now));
        Watch {
            state: inner.state.clone(),
            resumed: missed.is_some(),
            gap: after.is_some() && missed.is_none(),
            last: inner.history.last().map(|event| event.at),
            replay: missed.unwrap_or_else(|| inner.history.snapshot(inner.state.status, now)),
            live: self.audience.live(),
        }
    }

    /// For a viewer that fell behind: what it missed since this event. `None` when the history does not reach back that far.
    pub(crate) fn missed(&self, after: Option<Cursor>) -> Option<Vec<Arc<Event>>> {
        self.inner().history.missed(after)
    }

    /// Tells this listener every event that is recorded from now on. The first one has to start the fan-out.
    pub(crate) fn follow(&self, listener: Arc<dyn Listener>) -> (Seat, Option<Fanout>) {
        self.audience.join(listener)
    }

    /// Where it stands now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let inner = self.inner();
        Snapshot {
            state: inner.state.clone(),
            last: inner.history.last().map(|event| event.at),
            qr: inner.history.qr(Time::now()).cloned(),
            passkey: inner.history.passkey(Time::now()).cloned(),
            deleted: inner.deleted,
            owner: inner.owner.clone(),
        }
    }

    /// The word for where it stands now.
    pub(crate) fn status(&self) -> Status {
        self.inner().state.status
    }

    /// Whether its log ends with the word of a clean stop.
    pub(crate) fn was_shut_down(&self) -> bool {
        let last = self.inner().history.last().cloned();
        matches!(last.map(|event| event.kind.clone()), Some(Kind::Disconnected(d)) if d.reason == Reason::Shutdown)
    }

    /// Whether no phone has linked it.
    pub(crate) fn is_unpaired(&self) -> bool {
        self.inner().state.me.is_none()
    }

    /// How many streams watch it here.
    pub(crate) fn viewers(&self) -> usize {
        self.audience.len()
    }

    /// All events that it keeps, oldest first.
    pub(crate) fn events(&self) -> Vec<Arc<Event>> {
        self.inner().history.events()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

/// A deleted session is claimed until its device is logged out and its keys are forgotten.
fn is_erased(record: &Record) -> bool {
    record.deleted.is_some() && !record.claimed
}

/// Where a session stands, by its record and the end of its log. Where a link task was started after the last event,
/// that start revived it. `owned`: somebody runs its link task now.
fn state_of(record: &Record, last: Option<&Arc<Event>>, owned: bool) -> State {
    let Some(last) = last else { return State::initializing(record.created, None) };
    if last.at.epoch > record.epoch {
        // The log is newer than what was found.
        return last.state.clone();
    }
    let started = record.claimed && last.at.epoch < record.epoch;
    let restarted =
        started && owned && (last.state.me.is_none() || last.state.detail.as_deref() == Some(RESTART));
    if last.state.runs() && !restarted && (started || !owned) {
        // Its client died with the last process, whatever the log says: nobody is told `connected` meanwhile.
        return State { status: Status::Reconnecting, connected_at: None, ..last.state.clone() };
    }
    if !started {
        return last.state.clone();
    }
    // New keys after a logout, the same device otherwise.
    if last.state.reason == Some(Reason::LoggedOut) {
        return State::initializing(last.time, None);
    }
    let State { linked, missing, ref me, .. } = last.state;
    State { linked, missing, ..State::initializing(last.time, me.clone()) }
}
