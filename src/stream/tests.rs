//! A viewer without a socket: what it is told, and in which order.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::drain::{Drain, DrainingStream};
use super::guard::Transport;
use super::heartbeat::{Heartbeat, Heartbeats};
use super::*;
use crate::event::{Disconnected, Kind, Qr, Reason};
use crate::id::SessionId;
use crate::records::Record;
use crate::session::{Listener, Seat, status};
use crate::shutdown::Shutdown;

const PERIOD: Duration = Duration::from_secs(15);

/// A session, its one writer, and the server's stop.
struct Stage {
    session: Arc<Session>,
    next: Cursor,
    heartbeats: Heartbeats,
    drain: Drain,
    tasks: Shutdown,
}

/// A stream whose socket takes everything.
struct Stream {
    told: Arc<Told>,
    beats: Heartbeat,
    draining: DrainingStream,
    _seat: Seat,
}

struct Told {
    viewer: Mutex<Viewer>,
    news: Notify,
}

impl Listener for Told {
    fn hears(&self, event: &Arc<Event>) {
        self.viewer.lock().hears(event);
        self.news.notify_one();
    }

    fn has_missed(&self) {
        self.viewer.lock().catches_up();
        self.news.notify_one();
    }
}

impl Stream {
    fn until(self, until: Option<Time>) -> Self {
        self.told.viewer.lock().until = until;
        self
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            {
                let mut viewer = self.told.viewer.lock();
                if viewer.done {
                    return None;
                }
                if let Some(frame) = viewer.next() {
                    return Some(frame);
                }
            }
            tokio::select! {
                biased;
                () = self.told.news.notified() => {}
                end = self.draining.goodbye() => self.told.viewer.lock().leaves(end),
                () = self.beats.beat() => self.told.viewer.lock().beat(),
            }
        }
    }
}

impl Stage {
    fn new(history: u32) -> Self {
        let session: SessionId = "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11".parse().unwrap();
        let (created, metadata) = (Time::now(), None);
        let record = Record {
            session,
            created,
            device_name: None,
            proxy: None,
            webhook: None,
            metadata,
            epoch: 7,
            claimed: true,
            deleted: None,
        };
        let heartbeats = Heartbeats::start(PERIOD, &Shutdown::new());
        let session = Arc::new(Session::new(record, history));
        Self {
            session,
            next: Cursor { epoch: 7, seq: 1 },
            heartbeats,
            drain: Drain::default(),
            tasks: Shutdown::new(),
        }
    }

    fn viewer(&self, after: Option<&str>) -> Stream {
        let after = after.map(|cursor| cursor.parse().unwrap());
        let viewer = Viewer::new(self.session.clone(), after, StreamGuard::new(Transport::Sse));
        let told = Arc::new(Told { viewer: Mutex::new(viewer), news: Notify::new() });
        let (seat, fanout) = self.session.follow(told.clone());
        if let Some(fanout) = fanout {
            self.tasks.spawn(fanout.run());
        }
        Stream { told, beats: self.heartbeats.join(), draining: self.drain.enter(), _seat: seat }
    }

    fn records(&mut self, kind: Kind) {
        let now = Time::now();
        let state = status::apply(&self.session.snapshot().state, &kind, now);
        let event = Event::new(self.session.id().clone(), self.next, now, kind, state);
        assert!(self.session.record(Arc::new(event)));
        self.next = self.next.next();
    }

    fn shows_qr(&mut self, expires_in: i64) {
        let expires_at = Time::from_millis(Time::now().as_millis() + expires_in);
        let qr_string = format!("2@{}", self.next);
        self.records(Kind::Qr(Qr { qr_string, expires_at, attempt: 1, max_attempts: 6 }));
    }

    fn is_ready(&mut self) {
        let me = Me { id: "905:1@s.whatsapp.net".into(), push_name: None, platform: None };
        self.records(Kind::Ready { me, connected_at: Time::now(), missing: None });
    }

    fn is_lost(&mut self, reason: Reason) {
        self.records(Kind::Disconnected(Disconnected::new(reason, None)));
    }
}

/// The next frames that are there, in short: `7-1` an event, `status gap`, `end`.
async fn told(viewer: &mut Stream, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(match viewer.next().await {
            Some(Frame::Opening(opening)) if opening.gap => "status gap".into(),
            Some(Frame::Opening(opening)) if opening.resumed => "status resumed".into(),
            Some(Frame::Opening(_)) => "status".into(),
            Some(Frame::Event(event)) => event.at.to_string(),
            Some(Frame::FeedOpening | Frame::FeedEvent(_)) => "the feed".into(),
            Some(Frame::Heartbeat) => "heartbeat".into(),
            Some(Frame::Goodbye(close)) => format!("{close:?}"),
            None => "end".into(),
        });
    }
    all
}

#[tokio::test]
async fn without_a_cursor_the_screen_or_else_what_made_the_state() {
    let mut stage = Stage::new(200);
    assert_eq!(told(&mut stage.viewer(None), 1).await, ["status"]);
    stage.shows_qr(60_000);
    stage.shows_qr(60_000);
    assert_eq!(told(&mut stage.viewer(None), 2).await, ["status", "7-2"]);
    stage.is_ready();
    assert_eq!(told(&mut stage.viewer(None), 2).await, ["status", "7-3"]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_qr_is_shown_to_nobody() {
    let mut stage = Stage::new(200);
    stage.shows_qr(-1);
    assert_eq!(told(&mut stage.viewer(None), 2).await, ["status", "heartbeat"]);
    stage.shows_qr(60_000);
    assert_eq!(told(&mut stage.viewer(Some("7-1")), 2).await, ["status resumed", "7-2"]);
}

#[tokio::test]
async fn a_cursor_resumes_and_an_unknown_one_is_a_gap() {
    let mut stage = Stage::new(3);
    stage.is_ready();
    stage.is_lost(Reason::ConnectionLost);
    assert_eq!(told(&mut stage.viewer(Some("7-1")), 2).await, ["status resumed", "7-2"]);
    for unknown in ["6-9", "7-3", "8-1", "0-0"] {
        assert_eq!(told(&mut stage.viewer(Some(unknown)), 2).await, ["status gap", "7-2"], "{unknown}");
    }
    for _ in 0..3 {
        stage.is_ready();
        stage.is_lost(Reason::ConnectionLost);
    }
    // 7-6 to 7-8 are kept, and 7-5 is where the history was cut.
    assert_eq!(told(&mut stage.viewer(Some("7-5")), 4).await, ["status resumed", "7-6", "7-7", "7-8"]);
    assert_eq!(told(&mut stage.viewer(Some("7-4")), 2).await, ["status gap", "7-8"]);
}

#[tokio::test]
async fn a_viewer_that_falls_behind_misses_nothing_but_replaced_qrs() {
    let mut stage = Stage::new(200);
    let mut viewer = stage.viewer(None);
    assert_eq!(told(&mut viewer, 1).await, ["status"]);
    for _ in 0..40 {
        stage.shows_qr(60_000);
    }
    stage.is_ready();
    stage.is_lost(Reason::LoggedOut);
    assert_eq!(told(&mut viewer, 4).await, ["7-41", "7-42", "Ended", "end"]);
}

#[tokio::test]
async fn a_viewer_behind_the_history_is_sent_away() {
    let mut stage = Stage::new(10);
    let mut viewer = stage.viewer(None);
    assert_eq!(told(&mut viewer, 1).await, ["status"]);
    for _ in 0..30 {
        stage.is_ready();
        stage.is_lost(Reason::ConnectionLost);
    }
    assert_eq!(told(&mut viewer, 2).await, ["TooSlow", "end"]);
}

#[tokio::test]
async fn an_end_closes_and_a_session_revived_does_not() {
    let mut stage = Stage::new(200);
    stage.is_lost(Reason::LoggedOut);
    assert_eq!(told(&mut stage.viewer(None), 4).await, ["status", "7-1", "Ended", "end"]);
    stage.session.restart(None);
    let mut viewer = stage.viewer(Some("7-1"));
    assert_eq!(told(&mut viewer, 1).await, ["status resumed"]);
    stage.shows_qr(60_000);
    assert_eq!(told(&mut viewer, 1).await, ["7-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_has_a_heartbeat_each_period() {
    let stage = Stage::new(200);
    let mut viewer = stage.viewer(None);
    assert_eq!(told(&mut viewer, 2).await, ["status", "heartbeat"]);
    let before = tokio::time::Instant::now();
    assert_eq!(told(&mut viewer, 2).await, ["heartbeat", "heartbeat"]);
    assert_eq!(before.elapsed(), 2 * PERIOD);
}

#[tokio::test]
async fn a_stop_of_the_server_comes_after_the_sessions_last_word() {
    let mut stage = Stage::new(200);
    let mut viewer = stage.viewer(None);
    assert_eq!(told(&mut viewer, 1).await, ["status"]);
    stage.is_lost(Reason::Shutdown);
    stage.drain.begin(Duration::ZERO, false);
    assert_eq!(told(&mut viewer, 3).await, ["7-1", "Draining { pause: 1s }", "end"]);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_stands_in_all_are_sent_away_at_once_and_for_longer() {
    for (is_alone, pause, longest) in [(true, 8, 0), (false, 1, 15)] {
        let stage = Stage::new(200);
        let mut viewers: Vec<_> = (0..20).map(|_| stage.viewer(None)).collect();
        for viewer in &mut viewers {
            assert_eq!(told(viewer, 1).await, ["status"]);
        }
        let begun = tokio::time::Instant::now();
        stage.drain.begin(Duration::from_secs(15), is_alone);
        let expected = Close::Draining { pause: Duration::from_secs(pause) };
        assert_eq!(stage.drain.goodbye(), Some(expected), "a stream that opens now");
        for viewer in &mut viewers {
            // Whatever it may be told before that.
            while told(viewer, 1).await != [format!("{expected:?}")] {}
        }
        let took = begun.elapsed().as_secs();
        assert!(took <= longest && (is_alone || took > longest / 2), "alone: {is_alone}, {took} s");
        drop(viewers);
        assert_eq!(stage.drain.streams(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_viewer_whose_token_has_expired_is_sent_for_a_new_one_at_its_next_heartbeat() {
    let mut stage = Stage::new(200);
    stage.is_ready();
    let ago = Some(Time::from_millis(Time::now().as_millis() - 1));
    assert_eq!(told(&mut stage.viewer(None).until(ago), 3).await, ["status", "7-1", "TokenExpired"]);
    let later = Some(Time::from_millis(Time::now().as_millis() + 60_000));
    assert_eq!(told(&mut stage.viewer(None).until(later), 3).await, ["status", "7-1", "heartbeat"]);
}

#[tokio::test]
async fn a_viewer_of_the_feed_waits_for_a_while_and_is_then_sent_away() {
    let stage = Stage::new(9);
    let event = |user: &str, seq| {
        let session = SessionId::new(&user.parse().unwrap());
        let (kind, now) = (Kind::Disconnected(Disconnected::new(Reason::ConnectionLost, None)), Time::now());
        let state = status::apply(&stage.session.snapshot().state, &kind, now);
        Arc::new(Event::new(session, Cursor { epoch: 7, seq }, now, kind, state))
    };
    let of_shop = |event: &Event| event.session.user_id().starts_with("shop-");
    let mut viewer = Viewer::of_feed(Box::new(of_shop), StreamGuard::new(Transport::Sse));
    assert!(matches!(viewer.next(), Some(Frame::FeedOpening)));
    viewer.hears(&event("ada", 1));
    assert!(viewer.next().is_none(), "not one of its users");
    viewer.hears(&event("shop-1", 1));
    assert!(matches!(viewer.next(), Some(Frame::FeedEvent(_))));
    for seq in 0..FEED_BACKLOG as u64 {
        assert!(viewer.hears_later(&event("shop-1", seq)));
    }
    assert!(!viewer.hears_later(&event("shop-1", 9_999)));
    viewer.catches_up();
    assert!(matches!(viewer.next(), Some(Frame::Goodbye(Close::Missed))));
    assert!(viewer.next().is_none());
}
