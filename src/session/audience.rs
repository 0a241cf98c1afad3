//! Who follows a session, or all of them: a broadcast channel, and the task that offers each of its events to all streams in turn.
//!
//! One task a session, not one a stream: waking a task for each of thousands of viewers costs more than writing to their
//! sockets. It runs while there is somebody to offer events to.

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use slab::Slab;
use tokio::sync::Notify;
use tokio::sync::broadcast::{self, Receiver};

use crate::event::Event;

/// How many listeners are told before other tasks have a turn.
const BATCH: usize = 32;

/// Somebody who follows a session, or all of them. Both calls come from the session's fan-out, one at a time, and must not block.
pub(crate) trait Listener: Send + Sync {
    /// An event that was recorded just now. It may be one that the listener has seen already.
    fn hears(&self, event: &Arc<Event>);
    /// Events were recorded that it was not told of: it reads the session's history, if it follows one.
    fn has_missed(&self);
}

/// Who follows one session. Clones are the same.
#[derive(Clone)]
pub(crate) struct Audience(Arc<Inner>);

struct Inner {
    /// Another one takes its place when events were missed for good.
    live: Mutex<broadcast::Sender<Arc<Event>>>,
    /// How many events that keeps.
    backlog: usize,
    seats: Mutex<Seats>,
    /// The last listener has left.
    emptied: Notify,
}

#[derive(Default)]
struct Seats {
    listeners: Slab<Arc<dyn Listener>>,
    has_fanout: bool,
}

/// A listener's place. Dropping it ends the listening.
pub(crate) struct Seat {
    audience: Audience,
    key: usize,
}

/// Offers a session's events to its listeners, until the last of them has left.
#[must_use]
pub(crate) struct Fanout {
    audience: Audience,
    live: Receiver<Arc<Event>>,
}

impl Audience {
    /// The fan-out may be so many events behind before its listeners are told that they have missed some.
    pub(crate) fn new(backlog: usize) -> Self {
        let live = Mutex::new(broadcast::Sender::new(backlog));
        Self(Arc::new(Inner { live, backlog, seats: Mutex::default(), emptied: Notify::new() }))
    }

    /// Tells everyone. There may be nobody.
    pub(crate) fn tell(&self, event: Arc<Event>) {
        let _ = self.0.live.lock().send(event);
    }

    /// What is told from now on.
    pub(super) fn live(&self) -> Receiver<Arc<Event>> {
        self.0.live.lock().subscribe()
    }

    /// Events were missed for good: each listener is told, and finds that it cannot read all of them.
    pub(crate) fn cut(&self) {
        *self.0.live.lock() = broadcast::Sender::new(self.0.backlog);
    }

    /// Tells this listener every event from now on. The first one has to start the fan-out.
    pub(crate) fn join(&self, listener: Arc<dyn Listener>) -> (Seat, Option<Fanout>) {
        let mut seats = self.seats();
        let key = seats.listeners.insert(listener);
        let is_first = !std::mem::replace(&mut seats.has_fanout, true);
        let fanout = is_first.then(|| Fanout { audience: self.clone(), live: self.live() });
        (Seat { audience: self.clone(), key }, fanout)
    }

    /// How many listen.
    pub(super) fn len(&self) -> usize {
        self.seats().listeners.len()
    }

    /// Tells every listener. One that comes meanwhile may be left out: it sees what is recorded before it came by itself.
    async fn each(&self, tell: impl Fn(&dyn Listener)) {
        let mut next = Some(0);
        while let Some(from) = next {
            let (batch, rest) = self.batch(from);
            batch.iter().for_each(|listener| tell(&**listener));
            next = rest;
            if rest.is_some() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// The listeners from this key on, and the key behind them if there are more. Keys stay as they are while others leave.
    fn batch(&self, from: usize) -> (Vec<Arc<dyn Listener>>, Option<usize>) {
        let seats = self.seats();
        let end = seats.listeners.capacity();
        let mut batch = Vec::with_capacity(seats.listeners.len().min(BATCH));
        for key in from..end {
            if batch.len() == BATCH {
                return (batch, Some(key));
            }
            batch.extend(seats.listeners.get(key).cloned());
        }
        (batch, None)
    }

    /// Ends the fan-out if nobody is left, and says whether it did. The next listener starts another.
    fn close_if_empty(&self) -> bool {
        let mut seats = self.seats();
        seats.has_fanout = !seats.listeners.is_empty();
        !seats.has_fanout
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.seats.lock()
    }
}

impl fmt::Debug for Audience {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Audience").field("listeners", &self.len()).finish()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.audience.seats();
        let listener = seats.listeners.try_remove(self.key);
        let is_last = seats.listeners.is_empty();
        drop(seats);
        // After the lock: a listener may hold what its own end has to lock.
        drop(listener);
        if is_last {
            self.audience.0.emptied.notify_one();
        }
    }
}

impl Fanout {
    /// The task.
    pub(crate) async fn run(mut self) {
        let audience = self.audience;
        loop {
            tokio::select! {
                biased;
                event = self.live.recv() => if let Ok(event) = event {
                    audience.each(|listener| listener.hears(&event)).await;
                } else {
                    // Too many at once, or cut: each reads what it has missed.
                    self.live = audience.live();
                    audience.each(|listener| listener.has_missed()).await;
                },
                () = audience.0.emptied.notified() => if audience.close_if_empty() {
                    return;
                },
            }
        }
    }
}
