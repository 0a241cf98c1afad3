//! A session in this process: its state, the end of its log, and whoever watches.
//!
//! [`Session::record`] and [`Session::watch`] are the only doors. The owner's runner records what it has stored; streams
//! watch. It knows no store and no socket.

mod eraser;
mod history;
pub mod janitor;
mod journal;
mod link;
pub mod registry;
mod runner;
pub mod status;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use self::history::History;
use crate::bus::Log;
use crate::event::{Cursor, Event, Kind, Me, Reason, State, Status, Time};
use crate::id::SessionId;
use crate::ledger::Record;

/// How many events a viewer may be behind before it reads them from the history instead.
const LIVE_EVENTS: usize = 16;

/// One session.
#[derive(Debug)]
pub struct Session {
    record: Record,
    inner: Mutex<Inner>,
    live: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    history: History,
    deleted: Option<Time>,
}

/// What a session is at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Where it stands.
    pub state: State,
    /// Its last event's id.
    pub last: Option<Cursor>,
    /// The QR that can be scanned now.
    pub qr: Option<Arc<Event>>,
    /// When somebody deleted it.
    pub deleted: Option<Time>,
}

/// What a viewer is told first, and how it hears the rest. Both were taken at one moment: no gap, nothing twice.
#[derive(Debug)]
pub struct Watch {
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

/// What a viewer missed while it fell behind, and how it hears the rest; taken at one moment.
#[derive(Debug)]
pub struct CatchUp {
    /// What it missed.
    pub missed: Vec<Arc<Event>>,
    /// What comes next.
    pub live: broadcast::Receiver<Arc<Event>>,
}

impl Session {
    /// A session without events. `history` is how many events it keeps for returning viewers.
    pub fn new(record: Record, history: u32) -> Self {
        Self::restored(record, Log::default(), history)
    }

    /// A session with the events that its log still holds. Where a link task was started after the last of them, that
    /// start revived it.
    pub fn restored(record: Record, log: Log, history: u32) -> Self {
        let last = log.events.last().cloned();
        let state = match last {
            None => State::initializing(record.created, None),
            // Its client died with the last process, whatever the log says: nobody is told `connected` meanwhile.
            Some(last) if last.state.runs() => {
                State { status: Status::Reconnecting, connected_at: None, ..last.state.clone() }
            }
            Some(last) if last.at.epoch >= record.epoch => last.state.clone(),
            // A restart came after its end: new keys after a logout, the same device otherwise.
            Some(last) if last.state.reason == Some(Reason::LoggedOut) => {
                State::initializing(last.time, None)
            }
            Some(last) => {
                State { linked: last.state.linked, ..State::initializing(last.time, last.state.me.clone()) }
            }
        };
        let inner = Inner { state, history: History::restored(log, history), deleted: record.deleted };
        Self { record, inner: Mutex::new(inner), live: broadcast::Sender::new(LIVE_EVENTS) }
    }

    /// A start of the link task: what was on screen and what had ended is over.
    pub fn restart(&self, me: Option<Me>) {
        let mut inner = self.inner();
        inner.history.clear_screen();
        let linked = inner.state.linked && me.is_some();
        inner.state = State { linked, ..State::initializing(Time::now(), me) };
    }

    /// Somebody deleted it. False when somebody had before.
    pub fn mark_deleted(&self, at: Time) -> bool {
        let mut inner = self.inner();
        let first = inner.deleted.is_none();
        inner.deleted.get_or_insert(at);
        first
    }

    /// Its id.
    pub fn id(&self) -> &SessionId {
        &self.record.session
    }

    /// What is known of it from its creation on.
    pub fn about(&self) -> &Record {
        &self.record
    }

    /// Takes an event that is stored, and tells everyone who watches. Refuses one that is not newer than the last, so
    /// duplicates, echoes and a fenced owner are harmless.
    pub fn record(&self, event: Arc<Event>) -> bool {
        let mut inner = self.inner();
        if inner.history.last().is_some_and(|last| event.at <= last.at) {
            return false;
        }
        inner.state = event.state.clone();
        inner.history.push(event.clone());
        // Under the lock, so that a viewer's replay and its receiver meet without a gap. Nobody may be watching.
        let _ = self.live.send(event);
        true
    }

    /// Begins to watch, from after a cursor or from now.
    pub fn watch(&self, after: Option<Cursor>) -> Watch {
        let now = Time::now();
        let inner = self.inner();
        let missed = after.and_then(|cursor| inner.history.after(cursor, now));
        Watch {
            state: inner.state.clone(),
            resumed: missed.is_some(),
            gap: after.is_some() && missed.is_none(),
            last: inner.history.last().map(|event| event.at),
            replay: missed.unwrap_or_else(|| inner.history.snapshot(inner.state.status, now)),
            live: self.live.subscribe(),
        }
    }

    /// For a viewer that fell behind: what it missed since this event, and how it goes on. `None` when the history
    /// does not reach back that far.
    pub fn catch_up(&self, after: Option<Cursor>) -> Option<CatchUp> {
        let inner = self.inner();
        Some(CatchUp { missed: inner.history.missed(after)?, live: self.live.subscribe() })
    }

    /// Where it stands now.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner();
        Snapshot {
            state: inner.state.clone(),
            last: inner.history.last().map(|event| event.at),
            qr: inner.history.qr(Time::now()).cloned(),
            deleted: inner.deleted,
        }
    }

    /// Whether its log ends with the word of a clean stop.
    pub fn was_shut_down(&self) -> bool {
        let last = self.inner().history.last().cloned();
        matches!(last.map(|event| event.kind.clone()), Some(Kind::Disconnected(d)) if d.reason == Reason::Shutdown)
    }

    /// How many streams watch it here.
    pub fn viewers(&self) -> usize {
        self.live.receiver_count()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics between two writes of it, so a poisoned lock still guards a whole state.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
