//! A session and those who follow it: each hears every event once, whoever else comes and goes.

use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::*;
use crate::event::{Cursor, Disconnected, Kind, Reason, State, Time};
use crate::records::Record;

/// Reads the history when it is told to, as a viewer does.
struct Ear {
    session: Arc<Session>,
    heard: Mutex<Vec<u64>>,
}

impl Listener for Ear {
    fn hears(&self, event: &Arc<Event>) {
        self.heard.lock().push(event.at.seq);
    }

    fn has_missed(&self) {
        let last = self.heard.lock().last().map(|seq| Cursor { epoch: 7, seq: *seq });
        let missed = self.session.missed(last).unwrap();
        self.heard.lock().extend(missed.iter().map(|event| event.at.seq));
    }
}

fn session() -> Arc<Session> {
    let record = Record {
        session: "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11".parse().unwrap(),
        created: Time::now(),
        device_name: None,
        proxy: None,
        webhook: None,
        metadata: None,
        epoch: 7,
        claimed: true,
        deleted: None,
    };
    Arc::new(Session::new(record, 200))
}

fn records(session: &Session, seq: u64) {
    let (at, now) = (Cursor { epoch: 7, seq }, Time::now());
    let kind = Kind::Disconnected(Disconnected::new(Reason::ConnectionLost, None));
    let event = Event::new(session.id().clone(), at, now, kind, State::initializing(now, None));
    assert!(session.record(Arc::new(event)));
}

fn listens(session: &Arc<Session>, tasks: &TaskTracker) -> (Seat, Arc<Ear>) {
    let ear = Arc::new(Ear { session: session.clone(), heard: Mutex::default() });
    let (seat, fanout) = session.follow(ear.clone());
    if let Some(fanout) = fanout {
        tasks.spawn(fanout.run());
    }
    (seat, ear)
}

async fn has_heard(ear: &Ear, expected: &[u64]) {
    let all = async {
        while ear.heard.lock().len() < expected.len() {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), all).await.unwrap();
    assert_eq!(*ear.heard.lock(), expected);
}

#[tokio::test]
async fn each_of_many_hears_each_event_once_while_others_come_and_go() {
    let (session, tasks) = (session(), TaskTracker::new());
    let mut staying = Vec::new();
    let mut leaving = Vec::new();
    for _ in 0..100 {
        staying.push(listens(&session, &tasks));
        leaving.push(listens(&session, &tasks));
    }
    assert_eq!(session.viewers(), 200);
    for seq in 1..=8 {
        records(&session, seq);
        // In the middle of a round.
        yield_now().await;
        leaving.truncate(leaving.len() / 2);
        leaving.push(listens(&session, &tasks));
    }
    for (_, ear) in &staying {
        has_heard(ear, &[1, 2, 3, 4, 5, 6, 7, 8]).await;
    }
}

#[tokio::test]
async fn what_was_too_much_at_once_is_read_from_the_history() {
    let (session, tasks) = (session(), TaskTracker::new());
    let (_seat, ear) = listens(&session, &tasks);
    (1..=100).for_each(|seq| records(&session, seq));
    has_heard(&ear, &(1..=100).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn the_task_ends_with_the_last_listener_and_begins_with_the_next() {
    let (session, tasks) = (session(), TaskTracker::new());
    for round in 1..=3 {
        let (seat, ear) = listens(&session, &tasks);
        assert_eq!(tasks.len(), 1);
        records(&session, round);
        has_heard(&ear, &[round]).await;
        drop(seat);
        let ended = async {
            while !tasks.is_empty() {
                yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), ended).await.unwrap();
        assert_eq!((session.viewers(), Arc::strong_count(&ear)), (0, 1));
    }
}

#[tokio::test]
async fn one_that_comes_while_the_task_ends_is_told() {
    let (session, tasks) = (session(), TaskTracker::new());
    for round in 1..=50 {
        let (seat, _) = listens(&session, &tasks);
        yield_now().await;
        drop(seat);
        let (_seat, ear) = listens(&session, &tasks);
        records(&session, round);
        has_heard(&ear, &[round]).await;
    }
}
