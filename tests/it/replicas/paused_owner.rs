//! An owner that is paused (SIGSTOP) for three leases and wakes up: it is the owner no more, and nobody notices it.

use std::time::Duration;

use futures::future::join_all;
use qrcast::event::Time;
use simulator::{LinkError, Scan};
use tokio::task::JoinHandle;

use crate::support::redis::Redis;
use crate::support::replicas::{Linked, Replicas};
use crate::support::witness::{Transport, Witness, id};
use crate::support::{Seen, eventually, soon};

const LEASE: Duration = Duration::from_secs(3);

/// A linked and an unpaired session of replica 0, each watched on all three replicas.
struct Scene {
    replicas: Replicas,
    linked: Linked,
    unpaired: String,
    qr: Seen,
    /// First those of the linked session, then those of the other; each by replica.
    witnesses: Vec<Witness>,
}

async fn scene(redis: &Redis) -> Scene {
    let plan = Replicas::on(&redis.url()).variable("LEASE_TTL_MS", &LEASE.as_millis().to_string());
    let replicas = plan.start(3).await;
    let linked = replicas.links(0, "ada").await;
    let unpaired = replicas.at(0).init("bob").await.id;
    let mut witnesses = Vec::new();
    for session in [&linked.id, &unpaired] {
        for (number, transport) in
            [Transport::WebSocket, Transport::Sse, Transport::WebSocket].iter().enumerate()
        {
            witnesses.push(replicas.watches(number, session, *transport));
        }
    }
    for witness in &witnesses {
        witness
            .until("a first event", |saw| matches!(&saw.story()[..], [one] if one == "ready" || one == "qr"))
            .await;
    }
    let qr = witnesses[5].saw().last().clone();
    Scene { replicas, linked, unpaired, qr, witnesses }
}

impl Scene {
    /// The owner does nothing for three leases; the others have its sessions then. The new QR.
    async fn pauses(&self) -> Seen {
        let paused = Time::now();
        self.replicas.pauses(0);
        // Into the paused client's socket, to be read again by whoever logs in next.
        let messages = self.replicas.writes_to(&self.linked.jid);
        let lost = join_all(self.elsewhere().map(|witness| async {
            let first = witness.saw().events[0].clone();
            witness.awaits("owner_lost", id(&first)).await
        }))
        .await;
        let linked = self.witnesses[1].awaits("ready", id(&lost[0])).await;
        assert_eq!(linked.data["me"]["id"], self.linked.jid);
        let new = self.witnesses[5].awaits("qr", id(&lost[3])).await;
        assert_ne!(new.data["qrString"], self.qr.data["qrString"]);
        messages.await.unwrap();
        // The pause itself is the thing.
        tokio::time::sleep((LEASE * 3).saturating_sub(paused.elapsed(Time::now()))).await;
        new
    }

    fn elsewhere(&self) -> impl Iterator<Item = &Witness> {
        [1, 2, 4, 5].into_iter().map(|at| &self.witnesses[at])
    }

    /// A phone scans the QR that the paused owner had shown.
    fn scans_the_old_qr(&self) -> JoinHandle<Result<String, LinkError>> {
        let qr = self.qr.data["qrString"].as_str().unwrap().to_owned();
        tokio::spawn(self.replicas.whatsapp.scanning(Scan { qr, ..Scan::default() }))
    }

    /// The woken owner has stopped its tasks, no viewer saw anything of it, and whatever a phone lists is linked here.
    async fn ends_well(&self, new: &Seen) {
        self.replicas.has_clients(2).await;
        eventually("the old QR to be nobody's", || async {
            let reference = self.qr.data["qrString"].as_str().unwrap().split(',').next().unwrap().to_owned();
            !self.replicas.whatsapp.state().waiting.contains(&reference)
        })
        .await;
        // It had no chance to spoil the device's keys.
        self.replicas.writes_to(&self.linked.jid).await.unwrap();
        let jid = self.replicas.scans(new).await;
        for witness in &self.witnesses[3..] {
            assert_eq!(witness.awaits("ready", id(new)).await.data["me"]["id"], jid);
        }
        // Something that comes after whatever the woken owner could have said.
        let ends = [&self.linked.id, &self.unpaired].map(|session| self.replicas.end_of(session));
        let ends = join_all(ends).await;
        assert_eq!(self.replicas.whatsapp.drop_connections(None).unwrap(), 2);
        for (end, witnesses) in ends.into_iter().zip(self.witnesses.chunks(3)) {
            for witness in witnesses {
                witness.awaits("connection_lost", end).await;
                witness.awaits("ready", end).await;
                // Equal to the log, on the woken replica too: nothing stale was shown.
                let saw = self.replicas.is_whole(witness).await;
                assert_eq!(saw.gaps, 0);
            }
            let owner = self.replicas.owner_of(&witnesses[0].session).await;
            assert!(matches!(owner, Some(1 | 2)), "{owner:?}");
        }
        let story = self.witnesses[1].saw().story();
        assert_eq!(story, ["ready", "owner_lost", "ready", "connection_lost", "ready"]);
        for witness in self.elsewhere() {
            assert_eq!(witness.saw().ends, [], "{}", witness.session);
        }
        let listed: Vec<String> =
            self.replicas.whatsapp.state().devices.into_iter().filter(|d| d.linked).map(|d| d.jid).collect();
        for device in &listed {
            assert!([&self.linked.jid, &jid].contains(&device), "{device} is linked and lost; {listed:?}");
        }
        self.replicas.never_two_logins();
    }
}

#[tokio::test]
async fn a_woken_owner_stops_and_nobody_sees_anything_of_it() {
    let redis = Redis::start().await;
    let scene = scene(&redis).await;
    let new = scene.pauses().await;
    scene.replicas.wakes(0);
    scene.ends_well(&new).await;
}

#[tokio::test]
async fn a_qr_scanned_while_its_owner_is_paused_links_nothing_that_is_then_lost() {
    let redis = Redis::start().await;
    let scene = scene(&redis).await;
    let new = scene.pauses().await;
    let scanning = scene.scans_the_old_qr();
    // The offer goes into the paused client's socket; nobody can see it arrive.
    tokio::time::sleep(Duration::from_millis(100)).await;
    scene.replicas.wakes(0);
    let scanned = soon("the phone's answer", scanning).await.unwrap();
    assert!(scanned.is_err(), "linked to nobody: {scanned:?}");
    scene.ends_well(&new).await;
}

#[tokio::test]
async fn a_qr_scanned_when_its_owner_wakes_links_nothing_that_is_then_lost() {
    let redis = Redis::start().await;
    let scene = scene(&redis).await;
    let new = scene.pauses().await;
    scene.replicas.wakes(0);
    let scanned = soon("the phone's answer", scene.scans_the_old_qr()).await.unwrap();
    assert!(scanned.is_err(), "linked to nobody: {scanned:?}");
    scene.ends_well(&new).await;
}
