//! The version is looked up once for all who need it, and only a version that can be true is claimed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use tokio::time::{Instant, advance};
use whatsapp_rust::anyhow::{self, bail};
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};

use super::state::{Schedule, VersionState, believed};
use super::*;
use crate::shutdown::Shutdown;
use crate::whatsapp::store::memory::MemoryEngine;

const NEWER: Version = Version(BUILT_IN.0 + 1);
const NEWEST: Version = Version(BUILT_IN.0 + 2);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Answers for web.whatsapp.com.
#[derive(Clone)]
enum Answer {
    Version(Version),
    Broken,
    Silence,
}

struct Web {
    answer: Mutex<Answer>,
    asked: AtomicU32,
}

impl Web {
    fn now_says(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl HttpClient for Web {
    async fn execute(&self, _: HttpRequest) -> anyhow::Result<HttpResponse> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.answer.lock().unwrap().clone();
        // As over a network: others come in meanwhile.
        tokio::time::sleep(Duration::from_millis(50)).await;
        match answer {
            Answer::Version(Version(revision)) => {
                let body = format!(r#"{{"client_revision":{revision}}}"#).into_bytes();
                Ok(HttpResponse { status_code: 200, body })
            }
            Answer::Broken => bail!("broken"),
            Answer::Silence => std::future::pending().await,
        }
    }
}

struct World {
    web: Arc<Web>,
    store: Arc<MemoryEngine>,
    versions: Arc<Versions>,
    _tasks: Tasks,
}

struct Tasks(Shutdown);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.begin();
    }
}

fn world_with(answer: Answer, store: Arc<MemoryEngine>) -> World {
    let web = Arc::new(Web { answer: Mutex::new(answer), asked: AtomicU32::new(0) });
    let versions = Arc::new(Versions::looked_up(web.clone(), store.clone(), 1.0));
    let tasks = Tasks(Shutdown::new());
    tasks.0.spawn_until_begun(versions.clone().run());
    World { web, store, versions, _tasks: tasks }
}

fn world(answer: Answer) -> World {
    world_with(answer, Arc::default())
}

impl World {
    fn claims(&self) -> (Version, &'static str) {
        let report = self.versions.report();
        (report.version, report.source.as_str())
    }

    /// How long until the next look-up.
    async fn next_look_up(&self) -> Duration {
        let (begun, asked) = (Instant::now(), self.web.asked());
        while self.web.asked() == asked {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        begun.elapsed()
    }
}

#[test]
fn only_what_can_be_true_is_believed() {
    assert_eq!(believed((2, 3000, NEWER.0)), Ok(NEWER));
    assert_eq!(believed(BUILT_IN.numbers()), Ok(BUILT_IN));
    let refused = [(2, 3000, 0), (2, 3000, BUILT_IN.0 - 1), (2, 3000, u32::MAX), (2, 2, NEWER.0)];
    for numbers in refused {
        assert!(believed(numbers).is_err(), "{numbers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_clients_of_a_start_share_one_look_up_and_the_next_is_a_day_later() {
    let world = world(Answer::Version(NEWER));
    let claimed = join_all((0..50).map(|_| world.versions.current())).await;
    assert!(claimed.iter().all(|version| *version == NEWER));
    assert_eq!(world.web.asked(), 1);
    assert_eq!(world.claims(), (NEWER, "looked_up"));
    world.web.now_says(Answer::Version(NEWEST));
    let pause = world.next_look_up().await;
    assert!(pause.abs_diff(DAY) < Duration::from_secs(10), "{pause:?}");
    world.versions.until_newer(NEWER).await;
    assert_eq!(world.claims(), (NEWEST, "looked_up"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_believed_leaves_the_one_built_in() {
    for answer in [Version(0), Version(BUILT_IN.0 - 1), BUILT_IN] {
        let world = world(Answer::Version(answer));
        assert_eq!(world.versions.current().await, BUILT_IN);
        assert_eq!(world.claims(), (BUILT_IN, "built_in"));
        // That the newest is the one built in is an answer; anything older is none.
        assert_eq!(world.versions.report().looked_up.is_some(), answer == BUILT_IN);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_followed_by_growing_pauses() {
    let world = world(Answer::Broken);
    assert_eq!(world.versions.current().await, BUILT_IN);
    let mut pauses = Vec::new();
    for _ in 0..5 {
        pauses.push((world.next_look_up().await.as_secs() + 30) / 60);
    }
    assert_eq!(pauses, [10, 20, 40, 60, 60]);
    assert_eq!(world.versions.report().looked_up, None);
}

#[tokio::test(start_paused = true)]
async fn a_silent_web_does_not_hold_up_a_start_for_long() {
    let world = world(Answer::Silence);
    let begun = Instant::now();
    assert_eq!(world.versions.current().await, BUILT_IN);
    assert_eq!(begun.elapsed(), FIRST_LOOK_UP_TIMEOUT);
    // The look-up ends as well, and clients that come later do not wait.
    advance(LOOK_UP_TIMEOUT).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = Instant::now();
    world.versions.current().await;
    assert_eq!(late.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_makes_one_look_up_for_all() {
    let world = world(Answer::Version(NEWER));
    world.versions.current().await;
    world.web.now_says(Answer::Version(NEWEST));
    let found = join_all((0..50).map(|_| world.versions.newer_than(NEWER))).await;
    assert!(found.iter().all(|version| *version == Some(NEWEST)));
    assert_eq!(world.web.asked(), 2);
    // A refusal that comes late needs no look-up.
    assert_eq!(world.versions.newer_than(NEWER).await, Some(NEWEST));
    assert_eq!(world.web.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn refusals_without_a_newer_version_do_not_ask_again_at_once() {
    let world = world(Answer::Version(NEWER));
    world.versions.current().await;
    let found = join_all((0..50).map(|_| world.versions.newer_than(NEWER))).await;
    assert!(found.iter().all(Option::is_none));
    assert_eq!(world.versions.newer_than(NEWER).await, None);
    assert_eq!(world.web.asked(), 2);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.versions.newer_than(NEWER).await, None);
    assert_eq!(world.web.asked(), 3, "an hour later it is asked again");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_client_hears_of_the_next_good_look_up() {
    let world = world(Answer::Broken);
    world.versions.current().await;
    assert_eq!(world.versions.newer_than(BUILT_IN).await, None);
    world.web.now_says(Answer::Version(NEWER));
    world.versions.until_newer(BUILT_IN).await;
    assert_eq!(world.claims(), (NEWER, "looked_up"));
    assert!(world.versions.report().failing_since.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_newest_one_is_stored_and_the_next_start_begins_with_it() {
    let first = world(Answer::Version(NEWER));
    first.versions.current().await;
    // Stored a moment after it is claimed.
    while first.store.version().await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let second = world_with(Answer::Broken, first.store.clone());
    assert_eq!(second.versions.current().await, NEWER);
    assert_eq!(second.claims(), (NEWER, "stored"));
    assert_eq!(second.web.asked(), 0, "a look-up of today is good enough");
}

#[tokio::test(start_paused = true)]
async fn an_old_look_up_is_made_again_and_what_it_found_is_the_fall_back() {
    let store = Arc::new(MemoryEngine::new());
    let three_days_ago = Time::from_millis(Time::now().as_millis() - 3 * 24 * 3600 * 1000);
    store.keep_version(StoredVersion { version: NEWER, at: three_days_ago }).await.unwrap();
    let world = world_with(Answer::Broken, store);
    assert_eq!(world.versions.current().await, NEWER);
    assert_eq!((world.web.asked(), world.claims()), (1, (NEWER, "stored")));
    let report = world.versions.report();
    assert_eq!(report.looked_up, Some(three_days_ago));
    // The look-up was due two days ago, before this process was started.
    assert_eq!(report.failing_since, Some(three_days_ago.after(DAY)));
}

#[tokio::test(start_paused = true)]
async fn what_another_replica_has_found_serves_where_our_own_look_up_fails() {
    let world = world(Answer::Broken);
    world.versions.current().await;
    world.store.keep_version(StoredVersion { version: NEWER, at: Time::now() }).await.unwrap();
    assert_eq!(world.versions.newer_than(BUILT_IN).await, Some(NEWER));
    assert_eq!(world.claims(), (NEWER, "stored"));
}

#[tokio::test(start_paused = true)]
async fn a_fixed_version_is_never_looked_up() {
    let versions = Versions::fixed(Version(7));
    assert_eq!(versions.current().await, Version(7));
    assert_eq!(versions.newer_than(Version(7)).await, None);
    assert_eq!(versions.report().source.as_str(), "fixed");
    let Signal::Outdated { detail, .. } = versions.refusal(Version(7)) else { unreachable!() };
    assert_eq!(detail, "WA_VERSION=2.3000.7 is refused; unset it or set a newer one");
}

#[test]
fn a_process_that_fails_from_its_start_has_failed_since_then() {
    let (clock, now) = (Schedule::faster(1.0), Time::now());
    let mut known = VersionState::built_in();
    known.miss(None, &clock, now, Instant::now());
    known.miss(None, &clock, now.after(DAY), Instant::now());
    assert_eq!(known.report(&clock).failing_since, Some(now));
}
