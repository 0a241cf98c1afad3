//! A viewer in the background that comes back as `qrcast.js` does, and writes down all that it saw.
//!
//! What no viewer may ever see (an id that does not rise, a resumption that is none, a refusal that means "never come
//! back") is a fault; whoever asks a witness what it saw finds out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use qrcast::event::{Cursor, Time};
use rand::RngExt as _;
use reqwest::StatusCode;
use tokio::task::JoinHandle;

use super::viewer::End;
use super::{Seen, Viewer, eventually};

/// Where a viewer that lost its stream may go: the bases of the replicas that live.
pub(crate) type Living = Arc<Mutex<Vec<String>>>;

/// Between the end of a stream and the next try, where the server asks for nothing else.
const PAUSE: Duration = Duration::from_millis(250);
/// A replica that accepts a connection and says nothing is given up.
const OPENING: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Transport {
    Sse,
    WebSocket,
}

/// A viewer in the background. Dropping it ends it.
pub(crate) struct Witness {
    pub(crate) session: String,
    saw: Arc<Mutex<Saw>>,
    task: JoinHandle<()>,
}

/// All that a witness has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Saw {
    /// Every event, in the order it came, over all streams.
    pub(crate) events: Vec<Seen>,
    /// How each stream ended that did.
    pub(crate) ends: Vec<End>,
    /// The codes of the `drain` frames.
    pub(crate) drains: Vec<String>,
    /// How many streams began with `gap`.
    pub(crate) gaps: usize,
    /// Whether it was told not to come back.
    pub(crate) over: bool,
    faults: Vec<String>,
}

impl Saw {
    /// The last event.
    pub(crate) fn last(&self) -> &Seen {
        self.events.last().expect("an event")
    }

    /// Names of the events, each `disconnected` with its reason.
    pub(crate) fn story(&self) -> Vec<String> {
        self.events.iter().map(name).collect()
    }
}

/// The event's name; of a `disconnected` its reason.
pub(crate) fn name(seen: &Seen) -> String {
    match seen.data["reason"].as_str() {
        Some(reason) if seen.event == "disconnected" => reason.to_owned(),
        _ => seen.event.clone(),
    }
}

/// The event's id.
pub(crate) fn id(seen: &Seen) -> Cursor {
    seen.id.as_deref().expect("an event").parse().unwrap()
}

/// When it happened.
pub(crate) fn time(seen: &Seen) -> Time {
    serde_json::from_value(seen.data["at"].clone()).unwrap()
}

impl Witness {
    /// Begins to watch a session at one replica; goes to any living one from there.
    pub(crate) fn follows(home: &str, session: &str, transport: Transport, living: &Living) -> Self {
        let saw = Arc::new(Mutex::new(Saw::default()));
        let eye = Eye { session: session.to_owned(), transport, saw: saw.clone(), living: living.clone() };
        let task = tokio::spawn(eye.watch(home.to_owned()));
        Self { session: session.to_owned(), saw, task }
    }

    /// What it saw up to now.
    pub(crate) fn saw(&self) -> Saw {
        let saw = self.saw.lock().unwrap().clone();
        assert!(saw.faults.is_empty(), "{}: {:#?}\n{saw:#?}", self.session, saw.faults);
        saw
    }

    /// Waits until what it saw is as asked for.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Saw) -> bool) -> Saw {
        let enough = async || {
            let saw = self.saw.lock().unwrap();
            is(&saw) || !saw.faults.is_empty()
        };
        tokio::select! {
            () = eventually(what, enough) => {}
            // A failure says what was seen instead.
            () = tokio::time::sleep(super::PATIENCE - Duration::from_secs(1)) => {
                panic!("never {what}; {} told of {:#?}", self.session, self.saw.lock().unwrap());
            }
        }
        self.saw()
    }

    /// Waits until it has an event with this id, or a later one.
    pub(crate) async fn reaches(&self, at: Cursor) -> Saw {
        self.until(&format!("event {at}"), |saw| saw.events.last().is_some_and(|seen| id(seen) >= at)).await
    }

    /// Waits until an event of this name has come after this id; the event.
    pub(crate) async fn awaits(&self, event: &str, after: Cursor) -> Seen {
        let is = |seen: &&Seen| id(seen) > after && name(seen) == event;
        let saw = self.until(event, |saw| saw.events.iter().any(|seen| is(&seen))).await;
        saw.events.iter().find(is).unwrap().clone()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The part of a witness that runs.
struct Eye {
    session: String,
    transport: Transport,
    saw: Arc<Mutex<Saw>>,
    living: Living,
}

impl Eye {
    async fn watch(self, home: String) {
        let mut base = home;
        loop {
            let mut pause = PAUSE;
            match self.open(&base).await {
                Ok(viewer) => pause = self.reads(viewer).await.unwrap_or(PAUSE),
                Err(Some(StatusCode::NO_CONTENT)) => self.notes(|saw| saw.over = true),
                // A browser's EventSource gives up for good on these; a WebSocket's page asks and is told so.
                Err(Some(status)) => self.notes(|saw| {
                    saw.faults.push(format!("refused with {status}"));
                    saw.over = true;
                }),
                Err(None) => {}
            }
            if self.saw.lock().unwrap().over {
                return;
            }
            tokio::time::sleep(pause).await;
            base = self.elsewhere(base);
        }
    }

    async fn open(&self, base: &str) -> Result<Viewer, Option<StatusCode>> {
        let cursor = self.saw.lock().unwrap().events.last().and_then(|seen| seen.id.clone());
        let opening = async {
            match self.transport {
                Transport::Sse => Viewer::try_sse(base, &self.session, cursor.as_deref()).await,
                Transport::WebSocket => Viewer::try_websocket(base, &self.session, cursor.as_deref()).await,
            }
        };
        tokio::time::timeout(OPENING, opening).await.unwrap_or(Err(None))
    }

    /// Reads a stream to its end; how long the server asked to stay away.
    async fn reads(&self, mut viewer: Viewer) -> Option<Duration> {
        let mut pause = None;
        let mut opened = false;
        loop {
            let seen = match viewer.read().await {
                Ok(seen) => seen,
                Err(end) => {
                    self.notes(|saw| {
                        saw.ends.push(end);
                        saw.over |= matches!(end, Some(1000 | 1009));
                    });
                    return pause;
                }
            };
            match seen.event.as_str() {
                "drain" => {
                    pause = seen.data["retryAfterMs"].as_u64().map(Duration::from_millis);
                    self.notes(|saw| saw.drains.push(seen.data["code"].as_str().unwrap().to_owned()));
                }
                "status" => {
                    opened = true;
                    self.notes(|saw| saw.begins(&seen));
                }
                _ => self.notes(|saw| {
                    if !opened {
                        saw.faults.push(format!("a stream that did not begin with its status: {seen:?}"));
                    }
                    saw.adds(seen);
                }),
            }
        }
    }

    fn notes(&self, note: impl FnOnce(&mut Saw)) {
        note(&mut self.saw.lock().unwrap());
    }

    fn elsewhere(&self, base: String) -> String {
        let living = self.living.lock().unwrap();
        let others: Vec<_> = living.iter().filter(|other| **other != base).collect();
        match others.len() {
            0 => living.first().cloned().unwrap_or(base),
            count => others[rand::rng().random_range(0..count)].clone(),
        }
    }
}

impl Saw {
    fn begins(&mut self, opening: &Seen) {
        let gap = opening.data["gap"] == true;
        self.gaps += usize::from(gap);
        let resumed = opening.data["resumed"] == true;
        if !gap && resumed == self.events.is_empty() {
            self.faults.push(format!("after {} events: {opening:?}", self.events.len()));
        }
    }

    fn adds(&mut self, seen: Seen) {
        if let Some(last) = self.events.last()
            && id(last) >= id(&seen)
        {
            self.faults.push(format!("after {:?}: {seen:?}", last.id));
        }
        self.events.push(seen);
    }
}
