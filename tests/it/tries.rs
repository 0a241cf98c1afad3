//! How often WhatsApp is tried: by whoever it turned away, and by many at once after an outage.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::Value;
use simulator::{Attempt, AttemptKind, Config, Fail, Network, Scan, Simulator, Stream, What};

use crate::support::server::Builder;
use crate::support::{PATIENCE, Server, eventually, world_at};

/// When each login came, by the simulator's clock.
fn logins(whatsapp: &Simulator) -> Vec<Duration> {
    let all = whatsapp.attempts().into_iter();
    all.filter(|attempt| attempt.kind == AttemptKind::Login).map(|attempt| attempt.at).collect()
}

/// The pauses between the logins from the `first` on.
fn pauses(whatsapp: &Simulator, first: usize) -> Vec<Duration> {
    logins(whatsapp)[first..].windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test]
async fn a_503_for_all_is_left_to_the_clients_growing_pauses_and_told_once() {
    const FACTOR: f64 = 50.0;
    let (whatsapp, server) = world_at(FACTOR).await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    let mut viewer = session.sse().await;
    viewer.awaits("ready").await;
    let before = logins(&whatsapp).len();
    whatsapp.fail(Fail { reason: 503, times: Some(0), ..Fail::default() }).unwrap();
    whatsapp.drop_connections(None).unwrap();
    // Past the 50 s after which a client that hangs is built anew.
    let grown = Duration::from_secs(80).div_f64(FACTOR);
    eventually("a long pause", || async {
        pauses(&whatsapp, before).last().is_some_and(|pause| *pause >= grown)
    })
    .await;
    let pauses = pauses(&whatsapp, before);
    // The shortest are as long as the noise of a busy machine.
    let from = pauses.iter().position(|pause| *pause >= Duration::from_secs(20).div_f64(FACTOR)).unwrap();
    let shortest = Duration::from_secs(12).div_f64(FACTOR);
    assert!(pauses[from..].iter().all(|pause| *pause >= shortest), "{pauses:?}");
    whatsapp.fail(Fail { reason: 0, ..Fail::default() }).unwrap();
    let seen = viewer.until("ready").await;
    let told: Vec<_> = seen.iter().filter(|seen| seen.event == "disconnected").collect();
    assert!(told.iter().all(|told| told.data["reason"] == "connection_lost"), "{told:?}");
    let details = told.iter().filter_map(|told| told.data["detail"].as_str());
    assert_eq!(details.filter(|detail| *detail == "503; tried again in 1 s").count(), 1, "{told:?}");
    assert!(told.len() <= 2, "{told:?}");
}

/// The library ends at this one: what is left of its back-off is waited for by the runner.
#[tokio::test]
async fn a_429_at_the_login_is_no_end_and_no_reason_to_hammer() {
    const FACTOR: f64 = 50.0;
    let (whatsapp, server) = world_at(FACTOR).await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    let mut viewer = session.sse().await;
    viewer.awaits("ready").await;
    let before = logins(&whatsapp).len();
    whatsapp.fail(Fail { reason: 429, times: Some(2), ..Fail::default() }).unwrap();
    whatsapp.drop_connections(None).unwrap();
    let seen = viewer.until("ready").await;
    let told = |seen: &crate::support::Seen| {
        seen.data["reason"] == "connection_lost" && seen.data["detail"] == "429; tried again in 1 s"
    };
    assert_eq!(seen.iter().filter(|seen| told(seen)).count(), 1, "{seen:?}");
    // 8 s, then 144 s, up to a tenth less.
    let pauses = pauses(&whatsapp, before);
    assert_eq!(pauses.len(), 2);
    for (pause, seconds) in pauses.into_iter().zip([7, 129]) {
        assert!(pause >= Duration::from_secs(seconds).div_f64(FACTOR), "{pause:?}, not {seconds} s");
    }
}

/// The library says nothing of it but the end of the connection.
#[tokio::test]
async fn a_throttled_stream_says_so_and_when_it_is_tried_again() {
    let (whatsapp, server) = world_at(2.0).await;
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let mut viewer = session.websocket().await;
    viewer.awaits("ready").await;
    let before = logins(&whatsapp).len();
    whatsapp.stream(Stream { jid: Some(jid), what: What::Throttle, seconds: None }).await.unwrap();
    let begun = Instant::now();
    let lost = viewer.awaits("disconnected").await;
    assert_eq!(lost.data["reason"], "connection_lost");
    assert_eq!(lost.data["detail"], "429; tried again in 4 s");
    viewer.awaits("ready").await;
    assert!(begun.elapsed() >= Duration::from_millis(3600), "{:?}", begun.elapsed());
    assert_eq!(logins(&whatsapp).len(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_sessions_come_back_from_an_outage_in_turn() {
    Outage { sessions: 60, minutes: 4 }.happens().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: scripts/test --all"]
async fn a_thousand_sessions_come_back_from_half_an_hour_of_outage_in_turn() {
    Outage { sessions: 1000, minutes: 30 }.happens().await;
}

/// A minute takes three seconds; logins have their real rate. Were it faster, a busy machine would not answer a login in
/// the client's time.
const FACTOR: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60 / FACTOR as u64);
const RATE: u32 = 20;

/// Nobody can reach WhatsApp for so long.
struct Outage {
    sessions: usize,
    minutes: u32,
}

impl Outage {
    async fn happens(&self) {
        let started = Instant::now();
        let whatsapp = Simulator::start(Config::default()).await.unwrap();
        let server = self.linked(&whatsapp).await.start().await;
        whatsapp.network(Network { logins_per_second: Some(RATE), ..Network::default() }).unwrap();
        // A start has no such measure: it reads all that is stored as well.
        self.all_back(&whatsapp, &server).await;
        let id = self.one(&server).await;
        let mut viewer = server.session(&id).sse().await;
        viewer.expects("status").await;
        viewer.expects("ready").await;

        let from = started.elapsed();
        whatsapp.refuse();
        assert_eq!(viewer.expects("disconnected").await.data["reason"], "connection_lost");
        assert_eq!(viewer.expects("disconnected").await.data["reason"], "whatsapp_unreachable");
        // The length of the outage is what is played, not a wait for something.
        tokio::time::sleep((from + MINUTE * self.minutes).saturating_sub(started.elapsed())).await;
        let before = whatsapp.attempts().len();
        whatsapp.resume();
        let first = || async { whatsapp.attempts().len() > before };
        eventually("a probe", first).await;
        let back = self.all_back(&whatsapp, &server).await;
        viewer.expects("ready").await;

        let tries: Vec<_> = whatsapp.attempts().into_iter().filter(|attempt| attempt.at >= from).collect();
        self.table(&tries, from, back);
        assert!(back <= self.allowed(), "{back:?}, allowed: {:?}", self.allowed());
        assert_eq!(whatsapp.state().throttled, 0, "the limit was hit");
        let per_minute = by_minute(&tries, from);
        let outage = &per_minute[1..self.minutes as usize];
        assert!(outage.iter().all(|minute| minute.0 <= 4), "only probes: {per_minute:?}");
        // Two a minute, on a machine that is not too busy.
        assert!(outage.iter().map(|minute| minute.0).sum::<usize>() >= outage.len(), "{per_minute:?}");
        let logins = tries.iter().filter(|attempt| attempt.kind == AttemptKind::Login).count();
        assert_eq!(logins, self.sessions, "each came back by one login");
    }

    /// Linked in real time and at full speed; what starts the server on them.
    async fn linked(&self, whatsapp: &Simulator) -> Builder {
        let mut server = Server::builder(&whatsapp.url()).start().await;
        futures::stream::iter(0..self.sessions)
            .for_each_concurrent(8, async |n| {
                let session = server.init(&format!("user{n}")).await;
                let mut viewer = session.sse().await;
                let qr = viewer.awaits("qr").await.data["qrString"].as_str().unwrap().to_owned();
                whatsapp.scan(Scan { qr, ..Scan::default() }).await.unwrap();
                viewer.awaits("ready").await;
            })
            .await;
        let again = server.builder_again();
        assert_eq!(server.terminate().await, Some(0));
        let factor = FACTOR.to_string();
        let builder = again.variable("WHATSAPP_TIME_FACTOR", &factor);
        builder.variable("WA_LOGINS_PER_SECOND", &RATE.to_string()).variable("RUST_LOG", "info,qrcast=debug")
    }

    async fn one(&self, server: &Server) -> String {
        let page: Value = server.get("/api/sessions?limit=1").await.json().await.unwrap();
        page["sessions"][0]["sessionId"].as_str().unwrap().to_owned()
    }

    /// Waits until all are connected; how long that took.
    async fn all_back(&self, whatsapp: &Simulator, server: &Server) -> Duration {
        let since = Instant::now();
        let give_up = self.allowed() + 2 * PATIENCE;
        // The server is asked when it has little else to do.
        while whatsapp.state().clients < self.sessions || connected(server).await < self.sessions {
            assert!(since.elapsed() < give_up, "{}", missing(server).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        since.elapsed()
    }

    /// As long as the rate wants, and ten seconds.
    fn allowed(&self) -> Duration {
        Duration::from_secs(self.sessions as u64) / RATE + Duration::from_secs(10)
    }

    #[expect(clippy::print_stdout, reason = "what was measured")]
    fn table(&self, tries: &[Attempt], from: Duration, back: Duration) {
        println!("{} sessions, {} minutes; all back after {back:.1?} (real)", self.sessions, self.minutes);
        println!("minute  connections  logins");
        for (minute, (connections, logins)) in by_minute(tries, from).into_iter().enumerate() {
            println!("{minute:6}  {connections:11}  {logins:6}");
        }
    }
}

/// Connections and logins in each minute, by the fast clock.
fn by_minute(tries: &[Attempt], from: Duration) -> Vec<(usize, usize)> {
    let mut minutes = Vec::new();
    for attempt in tries {
        let minute = ((attempt.at - from).as_secs_f64() / MINUTE.as_secs_f64()) as usize;
        minutes.resize(minutes.len().max(minute + 1), (0, 0));
        match attempt.kind {
            AttemptKind::Connection => minutes[minute].0 += 1,
            AttemptKind::Login => minutes[minute].1 += 1,
            AttemptKind::Registration => {}
        }
    }
    minutes
}

/// Who is not connected, and the last that the log says of each.
async fn missing(server: &Server) -> String {
    let mut missing = String::new();
    for status in ["initializing", "reconnecting", "disconnected", "failed"] {
        let page: Value =
            server.get(&format!("/api/sessions?status={status}&limit=200")).await.json().await.unwrap();
        for session in page["sessions"].as_array().unwrap().iter().take(3) {
            let id = session["sessionId"].as_str().unwrap();
            let log: Vec<_> = server.log().into_iter().filter(|line| line.contains(id)).collect();
            missing += &format!("{session}\n{}\n", log[log.len().saturating_sub(30)..].join("\n"));
        }
    }
    missing
}

async fn connected(server: &Server) -> usize {
    let (mut connected, mut cursor) = (0, String::new());
    loop {
        let path = format!("/api/sessions?status=connected&limit=200{cursor}");
        let page: Value = server.get(&path).await.json().await.unwrap();
        connected += page["sessions"].as_array().unwrap().len();
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return connected,
        }
    }
}
