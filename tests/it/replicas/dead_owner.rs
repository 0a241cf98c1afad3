//! `kill -9` of an owner: its sessions are connected elsewhere soon after its leases have lapsed, without a scan, and
//! whoever watches on another replica sees nothing but the events.

use std::time::Duration;

use futures::future::join_all;
use qrcast::event::Time;
use simulator::Scan;

use crate::support::redis::Redis;
use crate::support::replicas::{LEASE, Linked, Replicas};
use crate::support::witness::{Transport, Witness, id, time};
use crate::support::{PATIENCE, soon};

const SESSIONS: usize = 50;
/// From the owner's death to the last `ready`.
const LIMIT: Duration = LEASE.saturating_add(Duration::from_secs(3));

/// One witness a session, on the other two replicas in turn and over both transports.
fn elsewhere(replicas: &Replicas, linked: &[Linked]) -> Vec<Witness> {
    let places =
        [(1, Transport::Sse), (2, Transport::WebSocket), (1, Transport::WebSocket), (2, Transport::Sse)];
    let each = linked.iter().zip(places.iter().cycle());
    each.map(|(linked, (number, transport))| replicas.watches(*number, &linked.id, *transport)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_sessions_are_connected_elsewhere_within_the_lease_and_three_seconds() {
    let redis = Redis::start().await;
    let mut replicas = Replicas::on(&redis.url()).alone().start(3).await;
    let linked = replicas.links_many(0, SESSIONS).await;
    let witnesses = elsewhere(&replicas, &linked);
    let at_home: Vec<_> = linked[..6]
        .iter()
        .zip([Transport::Sse, Transport::WebSocket].iter().cycle())
        .map(|(linked, transport)| replicas.watches(0, &linked.id, *transport))
        .collect();
    let mut ends = Vec::new();
    for witness in witnesses.iter().chain(&at_home) {
        ends.push(id(witness.until("ready", |saw| saw.story() == ["ready"]).await.last()));
    }

    // It dies in the middle of these.
    let messages: Vec<_> = linked[..5].iter().map(|linked| replicas.writes_to(&linked.jid)).collect();
    let killed = Time::now();
    replicas.kills(0).await;
    let back =
        join_all(witnesses.iter().zip(&ends).map(|(witness, end)| witness.awaits("ready", *end))).await;
    let longest = back.iter().map(|ready| time(ready).remaining(killed)).max().unwrap();
    assert!(longest <= LIMIT, "the last of {SESSIONS} was back after {longest:?}");
    replicas.has_clients(SESSIONS).await;

    for ((witness, ready), linked) in witnesses.iter().zip(&back).zip(&linked) {
        let saw = replicas.is_whole(witness).await;
        assert_eq!(saw.story(), ["ready", "owner_lost", "ready"], "{linked:?}");
        assert_eq!((saw.ends, saw.gaps), (vec![], 0), "{linked:?}");
        assert_eq!(ready.data["me"]["id"], linked.jid, "without a scan");
    }
    for witness in &at_home {
        let saw = replicas.is_whole(witness).await;
        assert_eq!((saw.story(), saw.gaps), (vec!["ready".into(), "owner_lost".into(), "ready".into()], 0));
        assert_eq!(saw.ends.len(), 1, "{saw:?}");
    }
    for messages in messages {
        messages.await.unwrap();
    }
    replicas.never_two_logins();
    assert_eq!(replicas.whatsapp.state().devices.len(), SESSIONS);
    // Those that are left share them.
    let owners = join_all(linked.iter().map(|linked| replicas.owner_of(&linked.id))).await;
    for number in [1, 2] {
        let share = owners.iter().filter(|owner| **owner == Some(number)).count();
        assert!((10..=40).contains(&share), "replica {number} owns {share}");
    }
    for linked in &linked {
        let status = replicas.at(2).session(&linked.id).status().await;
        assert_eq!(status["status"], "connected", "{status}");
    }
}

#[tokio::test]
async fn an_unpaired_session_is_taken_over_with_a_new_qr_on_the_same_stream() {
    let redis = Redis::start().await;
    let mut replicas = Replicas::on(&redis.url()).start(2).await;
    let session = replicas.at(0).init("ada").await.id;
    let witnesses =
        [Transport::Sse, Transport::WebSocket].map(|transport| replicas.watches(1, &session, transport));
    for witness in &witnesses {
        witness.until("a QR", |saw| saw.story() == ["qr"]).await;
    }
    let old = witnesses[0].saw().last().clone();
    replicas.kills(0).await;

    let lost = witnesses[0].awaits("owner_lost", id(&old)).await;
    assert!(id(&lost).epoch > id(&old).epoch, "{lost:?}");
    assert_eq!(lost.data["willReconnect"], true);
    let new = witnesses[0].awaits("qr", id(&lost)).await;
    assert_ne!(new.data["qrString"], old.data["qrString"]);
    assert_eq!(new.data["attempt"], 1);
    // The old one links nothing: its client is gone.
    let qr = old.data["qrString"].as_str().unwrap().to_owned();
    assert!(soon("a refusal", replicas.whatsapp.scan(Scan { qr, ..Scan::default() })).await.is_err());
    let jid = replicas.scans(&new).await;
    for witness in &witnesses {
        let ready = witness.awaits("ready", id(&new)).await;
        assert_eq!(ready.data["me"]["id"], jid);
        let saw = replicas.is_whole(witness).await;
        assert_eq!(saw.story(), ["qr", "owner_lost", "qr", "authenticated", "ready"]);
        assert_eq!((saw.ends, saw.gaps), (vec![], 0));
    }
}

/// Wherever the pairing stood when its owner died: linked on both sides, or a new QR and no device on the phone.
#[tokio::test]
async fn a_pairing_cut_short_by_the_owners_death_is_linked_or_not_on_both_sides() {
    let redis = Redis::start().await;
    let plan = Replicas::on(&redis.url()).variable("LEASE_TTL_MS", "3000");
    let mut replicas = plan.start(2).await;
    for (round, moment) in [40, 120, 200, 280].into_iter().enumerate() {
        // The last one is the newest: what survives is the older one.
        let owner = round + 1;
        let session = replicas.at(owner).init(&format!("ada{round}")).await;
        let qr = session.sse().await.awaits("qr").await.data["qrString"].as_str().unwrap().to_owned();
        let session = session.id;
        let scanning = tokio::spawn(replicas.whatsapp.scanning(Scan { qr, ..Scan::default() }));
        // A moment between the scan and `ready`, which come some 250 ms apart.
        tokio::time::sleep(Duration::from_millis(moment)).await;
        replicas.kills(owner).await;
        let scanned = soon("the scan", scanning).await.unwrap().ok();
        replicas.grows().await;
        let session = replicas.at(0).session(&session);
        let outcome = async {
            loop {
                let status = session.status().await;
                let stands = status["status"] == "connected" || status["hasQrCode"] == true;
                if stands && status["owner"] != replicas.name(owner) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let Ok(status) = tokio::time::timeout(PATIENCE, outcome).await else {
            panic!("neither linked nor a QR: {}", session.status().await);
        };
        let devices = replicas.whatsapp.state().devices;
        let listed = |jid: &str| devices.iter().any(|device| device.jid == jid && device.linked);
        match status["me"]["id"].as_str() {
            Some(me) => assert!(listed(me), "linked here, unknown to the phone: {status}"),
            None => {
                assert!(!scanned.as_deref().is_some_and(listed), "the phone lists it, but here: {status}")
            }
        }
    }
}

/// Its owner dies when the phone has linked the device and nobody has logged in with it yet, at three moments of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_never_logged_in_is_ready_elsewhere_as_soon_as_any_other() {
    const MOMENTS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(60), Duration::from_millis(120)];
    let redis = Redis::start().await;
    let mut replicas = Replicas::on(&redis.url()).alone().start(MOMENTS.len() + 1).await;
    let last = MOMENTS.len();
    for (number, moment) in MOMENTS.into_iter().enumerate() {
        let session = replicas.at(number).init(&format!("user{number}")).await.id;
        let witness = replicas.watches(last, &session, Transport::Sse);
        let qr = witness.until("a QR", |saw| !saw.events.is_empty()).await.events.remove(0);
        replicas.scans(&qr).await;
        // The moment of the death is what is played.
        tokio::time::sleep(moment).await;
        let killed = Time::now();
        replicas.kills(number).await;
        let ready = witness.awaits("ready", id(&qr)).await;
        let after = time(&ready).remaining(killed);
        assert!(after <= LIMIT, "ready {after:?} after the owner died {moment:?} after the scan");
        assert_eq!(ready.data.get("incomplete"), None);
    }
}
