//! `kill -9` of the replica under the pages: the live page and the dashboard go on at another one, behind one address, as behind a
//! load balancer that notices.

use qrcast::event::Cursor;
use serde_json::Value;

use crate::support::browser::{Browser, Screen, Within};
use crate::support::redis::Redis;
use crate::support::relay::Relay;
use crate::support::replicas::Replicas;
use crate::support::{eventually, soon};

fn port(replicas: &Replicas, number: usize) -> String {
    let base = reqwest::Url::parse(&replicas.at(number).base).unwrap();
    base.port().unwrap().to_string()
}

/// The replica under the pages dies, and the address leads to another one.
async fn dies(replicas: &mut Replicas, number: usize, relay: &Relay, to: usize) {
    relay.leads_to(&port(replicas, to));
    replicas.kills(number).await;
}

/// Writes down what the page hears and what it says to a screen reader.
const WATCH: &str = "(() => {
    globalThis.heard = [];
    globalThis.said = [];
    addEventListener('qrcast-event', ({ detail }) => heard.push(detail.id));
    const voice = elements().find((e) => e.matches('.unseen[role=status][aria-live=polite]'));
    new MutationObserver(() => said.push(voice.textContent)).observe(voice, { childList: true, characterData: true, subtree: true });
})()";

/// Waits until the QR on the screen is the one that the session has, as the replicas that live know it.
async fn shows_the_qr(browser: &Browser, replicas: &Replicas, session: &str, replica: usize) -> String {
    let session = replicas.at(replica).session(session);
    soon("the QR of the session on the screen", async {
        loop {
            // While nobody runs it, or its owner is dead, nothing on the screen can be right.
            if session.status().await["clientActive"] == true {
                let shown = browser.qr_on_the_screen().await;
                let now = session.qr_code().await.1["qrString"].as_str().map(str::to_owned);
                if let (true, Some(qr)) = (shown == now, shown) {
                    return qr;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: three replicas and a browser"]
async fn a_person_links_although_the_replica_under_the_page_is_killed_twice() {
    links_although_its_replica_is_killed_twice(Within::Chromium).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: three replicas and Firefox"]
async fn a_person_links_although_the_replica_under_the_page_is_killed_twice_in_firefox() {
    if Within::Firefox.is_installed() {
        links_although_its_replica_is_killed_twice(Within::Firefox).await;
    }
}

async fn links_although_its_replica_is_killed_twice(within: Within) {
    let redis = Redis::start().await;
    let mut replicas = Replicas::on(&redis.url()).start(3).await;
    let relay = Relay::to(&port(&replicas, 0)).await;
    let (session, link) = {
        let session = replicas.at(0).init("ada").await;
        (session.id.clone(), session.answer["linkUrl"].as_str().unwrap().to_owned())
    };
    let browser = within.opens(Screen::WIDE, &format!("http://127.0.0.1:{}{link}", relay.port())).await;
    browser.sees("qr").await;
    browser.js::<Value>(WATCH).await;
    let mut shown = vec![shows_the_qr(&browser, &replicas, &session, 0).await];
    for number in [0, 1] {
        dies(&mut replicas, number, &relay, number + 1).await;
        eventually("another owner", async || {
            replicas.owner_of(&session).await.is_some_and(|owner| owner > number)
        })
        .await;
        shown.push(shows_the_qr(&browser, &replicas, &session, 2).await);
    }
    let last = shown.last().unwrap();
    let scan =
        simulator::Scan { qr: last.clone(), push_name: Some("Ada".into()), ..simulator::Scan::default() };
    soon("a scan", replicas.whatsapp.scan(scan)).await.unwrap();
    browser.reads("You can close this page").await;
    let heard: Vec<String> = browser.js("heard").await;
    let heard: Vec<Cursor> = heard.iter().map(|id| id.parse().unwrap()).collect();
    assert!(heard.is_sorted_by(|a, b| a < b), "each once and in order: {heard:?}");
    let said: Vec<String> = browser.js("said").await;
    assert!(said.windows(2).all(|pair| pair[0] != pair[1]), "nothing is said twice: {said:#?}");
    assert_eq!(said.iter().filter(|said| said.starts_with("Linked")).count(), 1, "{said:#?}");
    browser.closes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: three replicas and a browser"]
async fn the_dashboard_shows_the_truth_after_its_replica_is_killed() {
    shows_the_truth_after_its_replica_is_killed(Within::Chromium).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: three replicas and Firefox"]
async fn the_dashboard_shows_the_truth_after_its_replica_is_killed_in_firefox() {
    if Within::Firefox.is_installed() {
        shows_the_truth_after_its_replica_is_killed(Within::Firefox).await;
    }
}

async fn shows_the_truth_after_its_replica_is_killed(within: Within) {
    let redis = Redis::start().await;
    let mut replicas = Replicas::on(&redis.url()).start(3).await;
    let relay = Relay::to(&port(&replicas, 0)).await;
    let (ada, bob) = (replicas.links(0, "ada").await, replicas.links(1, "bob").await);
    let browser = within.opens(Screen::WIDE, &format!("http://127.0.0.1:{}/admin", relay.port())).await;
    browser.reads("2 sessions").await;
    dies(&mut replicas, 0, &relay, 1).await;
    eventually("another owner", async || replicas.owner_of(&ada.id).await.is_some_and(|owner| owner > 0))
        .await;
    replicas.has_clients(2).await;
    let owner = replicas.owner_of(&ada.id).await.unwrap();
    for (user, owner) in [("ada", owner), ("bob", 1)] {
        let name: String = replicas.name(owner).chars().take(8).collect();
        let row = format!(
            "[...document.querySelectorAll('.rows .row')].find((row) => row.querySelector('a').textContent === '{user}').innerText"
        );
        browser.until(&format!("{row}.includes('Connected') && {row}.includes('{name}')")).await;
    }
    browser.reads("Live").await;
    // What happens from now on is live.
    replicas.whatsapp.logout(&bob.jid).unwrap();
    browser.reads("logged out").await;
    browser.closes().await;
}
