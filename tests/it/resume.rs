//! A viewer cut anywhere and back with its cursor sees the whole story, in order, nothing twice.

use futures::future::join_all;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use simulator::{Scan, Simulator};
use tokio::sync::Barrier;

use crate::link::assert_ids_rise;
use crate::support::{Seen, Server, Session, Viewer, world};

/// Which transport a stretch of the story is watched on, and how many events are read before the cut.
type Stretch = (bool, usize);

/// The story that every viewer must have seen: linked, dropped three times, logged out by the phone.
const DROPS: usize = 3;

#[tokio::test]
async fn the_union_of_what_a_viewer_saw_is_the_whole() {
    let (whatsapp, server) = world().await;
    let mut runner = TestRunner::deterministic();
    let cuts = prop::collection::vec(prop::collection::vec((any::<bool>(), 0..3usize), 1..12), 4);
    for _ in 0..5 {
        let plans = cuts.new_tree(&mut runner).unwrap().current();
        one_story(&whatsapp, &server, &plans).await;
    }
}

async fn one_story(whatsapp: &Simulator, server: &Server, plans: &[Vec<Stretch>]) {
    let session = server.init("ada").await;
    // The phone scans when everyone has seen the QR: whoever comes without a cursor is told of now, not of before.
    let everyone_is_here = Barrier::new(plans.len() + 1);
    let watching = plans.iter().map(|plan| watch_with_cuts(&session, plan, &everyone_is_here));
    let (whole, cut) = tokio::join!(live_through(whatsapp, &session, &everyone_is_here), join_all(watching));
    assert_eq!(
        whole.iter().map(|seen| seen.event.as_str()).collect::<Vec<_>>(),
        [vec!["qr", "authenticated", "ready"], ["disconnected", "ready"].repeat(DROPS), vec!["disconnected"]]
            .concat()
    );
    for (plan, seen) in plans.iter().zip(cut) {
        assert_ids_rise(&seen);
        assert_eq!(seen, whole, "{plan:?}");
    }
}

/// One uncut viewer, which also makes the story happen.
async fn live_through(whatsapp: &Simulator, session: &Session<'_>, everyone_is_here: &Barrier) -> Vec<Seen> {
    let mut viewer = session.sse().await;
    viewer.expects("status").await;
    let mut whole = viewer.until("qr").await;
    let qr = whole.last().unwrap().data["qrString"].as_str().unwrap().to_owned();
    everyone_is_here.wait().await;
    let jid = whatsapp.scan(Scan { qr, ..Scan::default() }).await.unwrap();
    whole.extend(viewer.until("ready").await);
    for _ in 0..DROPS {
        whatsapp.drop_connections(Some(&jid)).unwrap();
        whole.extend(viewer.until("ready").await);
    }
    whatsapp.logout(&jid).unwrap();
    whole.extend(viewer.until("disconnected").await);
    viewer.ends().await;
    whole
}

/// Follows the plan, then on the last transport to the end.
async fn watch_with_cuts(session: &Session<'_>, plan: &[Stretch], everyone_is_here: &Barrier) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    for (index, (websocket, events)) in plan.iter().enumerate() {
        let cursor = seen.last().and_then(|seen| seen.id.clone());
        let Some(mut viewer) = open(session, *websocket, cursor.as_deref()).await else { return seen };
        let Ok(opening) = viewer.next().await else { return seen };
        assert_eq!(opening.data["resumed"], cursor.is_some());
        assert_eq!(opening.data["gap"], false);
        let last_stretch = index + 1 == plan.len();
        // Without a cursor the story is not owed to anyone: the first stretch sees at least one event.
        let events = if seen.is_empty() { (*events).max(1) } else { *events };
        let mut left = if last_stretch { usize::MAX } else { events };
        while left > 0 {
            match viewer.next().await {
                Ok(event) => seen.push(event),
                Err(_) => return seen,
            }
            if seen.len() == 1 {
                everyone_is_here.wait().await;
            }
            left -= 1;
        }
    }
    seen
}

/// `None` when the server says that there is nothing more.
async fn open(session: &Session<'_>, websocket: bool, cursor: Option<&str>) -> Option<Viewer> {
    if websocket {
        return Some(session.websocket_after(cursor).await);
    }
    Viewer::sse(&session.server.base, &session.id, cursor).await.ok()
}
