//! A way that fails as told, in paused time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use tokio::time::{advance, sleep};

use super::*;

struct Fake {
    reach: Reach,
    works: AtomicBool,
    begun: Instant,
    probes: Mutex<Vec<u64>>,
}

#[async_trait]
impl Way for Fake {
    fn reach(&self) -> &Reach {
        &self.reach
    }

    async fn probe(&self) -> anyhow::Result<()> {
        self.probes.lock().unwrap().push(self.begun.elapsed().as_secs());
        // As long as in a network that drops all packets.
        sleep(Duration::from_millis(900)).await;
        if self.works.load(Ordering::Relaxed) { Ok(()) } else { Err(anyhow::anyhow!("still dead")) }
    }
}

impl Fake {
    fn at(factor: f64) -> Arc<Self> {
        let reach = Reach::new(Watch { factor, tasks: Shutdown::new() });
        let (begun, probes) = (Instant::now(), Mutex::default());
        Arc::new(Self { reach, works: AtomicBool::new(false), begun, probes })
    }

    fn probes(&self) -> Vec<u64> {
        self.probes.lock().unwrap().clone()
    }
}

fn dead(way: &Fake) -> bool {
    way.reach.alive().now_or_never().is_none()
}

#[tokio::test(start_paused = true)]
async fn one_failure_with_a_success_after_it_is_nobody_elses_matter() {
    let way = Fake::at(1.0);
    let pass = way.reach.pass();
    for _ in 0..3 {
        Reach::failed(&way, "odd");
        assert!(!dead(&way));
        way.reach.succeeded();
    }
    sleep(Duration::from_secs(60)).await;
    assert!(way.probes().is_empty() && way.reach.admits(pass).is_ok());
}

#[tokio::test(start_paused = true)]
async fn two_failures_in_a_row_are_a_death_and_so_is_one_and_a_probe() {
    let way = Fake::at(1.0);
    Reach::failed(&way, "refused");
    Reach::failed(&way, "refused again");
    assert_eq!(way.reach.admits(way.reach.pass()), Err("refused again".to_owned()));
    let way = Fake::at(1.0);
    Reach::failed(&way, "refused");
    way.reach.alive().await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(way.reach.admits(way.reach.pass()), Err("still dead".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_dead_way_is_looked_at_every_30_seconds_by_one_probe() {
    let way = Fake::at(1.0);
    for _ in 0..1000 {
        Reach::failed(&way, "refused");
    }
    sleep(Duration::from_secs(130)).await;
    assert_eq!(way.probes(), [1, 3, 8, 18, 38, 68, 98, 128]);
    way.works.store(true, Ordering::Relaxed);
    way.reach.alive().await;
    assert_eq!(way.begun.elapsed().as_secs(), 158);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(way.probes().len(), 9, "a way that is well is left alone");
    Reach::failed(&way, "refused");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(way.probes().len(), 10, "and looked after again");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_built_before_a_death_does_not_dial_after_it() {
    let way = Fake::at(1.0);
    let before = way.reach.pass();
    assert!(way.reach.admits(before).is_ok());
    Reach::failed(&way, "refused");
    Reach::failed(&way, "refused");
    let meanwhile = way.reach.pass();
    way.reach.succeeded();
    for pass in [before, meanwhile] {
        assert!(way.reach.admits(pass).unwrap_err().contains("waits for its turn"));
    }
    assert!(way.reach.admits(way.reach.pass()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_the_library_gives_up_has_failed_and_one_of_a_session_that_stops_has_not() {
    let way = Fake::at(2.0);
    for (lasts, deaths) in [(8, 0), (10, 1)] {
        for _ in 0..2 {
            let dial = Dial::begin(&way);
            advance(Duration::from_secs(lasts)).await;
            drop(dial);
        }
        assert_eq!(way.reach.state.borrow().deaths, deaths, "{lasts} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_way_that_nobody_has_any_more_is_not_probed() {
    let way = Fake::at(1.0);
    Reach::failed(&way, "refused");
    let tasks = way.reach.watch.tasks.clone();
    drop(way);
    assert_eq!(tasks.finished(Duration::from_secs(5)).await, 0);
}
