//! A command given to any replica reaches the owner, outlives it, and is answered from the session's own log.

use reqwest::StatusCode;
use serde_json::json;
use simulator::EnterCode;

use crate::commands::restarted;
use crate::support::redis::Redis;
use crate::support::replicas::Replicas;
use crate::support::witness::{Transport, id, name};
use crate::support::{eventually, soon};

const NUMBER: &str = "+90 555 123 45 67";
const DIGITS: &str = "905551234567";

#[tokio::test]
async fn a_restart_from_elsewhere_brings_a_new_qr_or_a_new_login() {
    let redis = Redis::start().await;
    let replicas = Replicas::on(&redis.url()).start(2).await;
    let session = replicas.at(0).init("ada").await;
    let elsewhere = replicas.at(1).session(&session.id);
    let mut viewer = elsewhere.websocket().await;
    let old = viewer.awaits("qr").await;
    restarted(&elsewhere).await;
    let new = viewer.expects("qr").await;
    assert_ne!(new.data["qrString"], old.data["qrString"]);
    assert_eq!(new.data["attempt"], 1);
    let jid = replicas.scans(&new).await;
    let first = viewer.awaits("ready").await;

    restarted(&elsewhere).await;
    let lost = viewer.expects("disconnected").await;
    assert_eq!((&lost.data["reason"], &lost.data["detail"]), (&json!("connection_lost"), &json!("restart")));
    let ready = viewer.expects("ready").await;
    assert_eq!(ready.data["me"]["id"], jid);
    assert!(id(&ready).epoch > id(&first).epoch, "every start of the task raises it");
    assert_eq!(replicas.owner_of(&session.id).await, Some(0));
    replicas.never_two_logins();
}

#[tokio::test]
async fn a_session_without_an_owner_is_run_by_the_replica_that_was_told_to() {
    let redis = Redis::start().await;
    let replicas = Replicas::on(&redis.url()).start(2).await;
    let linked = replicas.links(0, "ada").await;
    replicas.whatsapp.logout(&linked.jid).unwrap();
    let ended = replicas.at(1).session(&linked.id).reaches("disconnected").await;
    assert_eq!(ended["reason"], "logged_out");
    let elsewhere = replicas.at(1).session(&linked.id);
    restarted(&elsewhere).await;
    // With the cursor of the old end, on either replica: the stream stays.
    for number in [0, 1] {
        let session = replicas.at(number).session(&linked.id);
        let mut viewer = session.sse_after(ended["lastEventId"].as_str()).await;
        assert_ne!(viewer.expects("status").await.data["status"], "disconnected");
        viewer.expects("qr").await;
    }
    assert_eq!(replicas.owner_of(&linked.id).await, Some(1));
    let mut viewer = replicas.at(0).session(&linked.id).sse().await;
    let jid = replicas.scans(&viewer.awaits("qr").await).await;
    assert_eq!(viewer.awaits("ready").await.data["me"]["id"], jid);
    assert_ne!(jid, linked.jid);
}

#[tokio::test]
async fn a_delete_from_elsewhere_logs_the_phone_out_and_ends_every_stream() {
    let redis = Redis::start().await;
    let replicas = Replicas::on(&redis.url()).start(3).await;
    let linked = replicas.links(0, "ada").await;
    let mut viewers = Vec::new();
    for number in 0..3 {
        viewers.push(replicas.at(number).session(&linked.id).websocket().await);
    }
    assert_eq!(replicas.at(1).session(&linked.id).delete().await, StatusCode::NO_CONTENT);
    for viewer in &mut viewers {
        let last = viewer.awaits("disconnected").await;
        assert_eq!((&last.data["reason"], &last.data["willReconnect"]), (&json!("deleted"), &json!(false)));
        assert_eq!(viewer.ends().await, Some(1000));
    }
    eventually("the phone to list it no more", || async {
        replicas.whatsapp.state().devices.iter().all(|device| !device.linked)
    })
    .await;
    replicas.has_clients(0).await;
    for number in 0..3 {
        let session = replicas.at(number).session(&linked.id);
        assert_eq!(session.status().await["reason"], "deleted");
        assert_eq!(session.qr_code().await.0, StatusCode::GONE);
        assert_eq!(session.restart().await.status(), StatusCode::GONE);
        assert_eq!(session.delete().await, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn a_pairing_code_is_had_from_elsewhere_and_seen_by_all() {
    let redis = Redis::start().await;
    let replicas = Replicas::on(&redis.url()).start(3).await;
    let session = replicas.at(0).init("ada").await;
    let mut viewer = replicas.at(2).session(&session.id).sse().await;
    viewer.awaits("qr").await;
    let elsewhere = replicas.at(1).session(&session.id);
    let (status, answer) = elsewhere.pairing_code(NUMBER).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let code = viewer.awaits("code").await;
    assert_eq!((&code.data["code"], &code.data["expiresAt"]), (&answer["code"], &answer["expiresAt"]));
    // A refusal comes with WhatsApp's word.
    replicas.whatsapp.refuse_code(429).unwrap();
    let (status, error) = elsewhere.pairing_code(NUMBER).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{error}");
    assert_eq!(error["details"]["code"], "rate_overlimit");
    assert_eq!(viewer.awaits("pairing_error").await.data["code"], "rate_overlimit");
    let (_, answer) = elsewhere.pairing_code(NUMBER).await;
    let code = answer["code"].as_str().unwrap().to_owned();
    let entering = replicas.whatsapp.enter_code(EnterCode { phone: DIGITS.into(), code, push_name: None });
    let jid = soon("the link", entering).await.unwrap();
    assert_eq!(viewer.awaits("ready").await.data["me"]["id"], jid);
    let (status, error) = elsewhere.pairing_code(NUMBER).await;
    assert_eq!((status, &error["code"]), (StatusCode::CONFLICT, &json!("ALREADY_CONNECTED")));
}

#[tokio::test]
async fn an_owner_that_is_silent_for_twenty_seconds_is_said_to_be() {
    let redis = Redis::start().await;
    // A lease that outlasts the silence: nobody takes the session over.
    let replicas = Replicas::on(&redis.url()).variable("LEASE_TTL_MS", "60000").start(2).await;
    let session = replicas.at(0).init("ada").await;
    session.reaches("scan_qr").await;
    replicas.pauses(0);
    let (status, error) = replicas.at(1).session(&session.id).pairing_code(NUMBER).await;
    assert_eq!((status, &error["code"]), (StatusCode::GATEWAY_TIMEOUT, &json!("OWNER_SILENT")));
    replicas.wakes(0);
    assert_eq!(session.status().await["owner"], replicas.name(0));
}

/// Given while the owner does not answer, which then dies.
#[tokio::test]
async fn a_delete_and_a_restart_outlive_the_owner() {
    let redis = Redis::start().await;
    let mut replicas = Replicas::on(&redis.url()).start(2).await;
    let [deleted, restarted_] = [replicas.links(0, "ada").await, replicas.links(0, "bob").await];
    let watching = [&deleted, &restarted_].map(|linked| replicas.watches(1, &linked.id, Transport::Sse));
    let end = replicas.end_of(&restarted_.id).await;
    for witness in &watching {
        witness.until("ready", |saw| saw.story() == ["ready"]).await;
    }
    replicas.pauses(0);
    assert_eq!(replicas.at(1).session(&deleted.id).delete().await, StatusCode::NO_CONTENT);
    restarted(&replicas.at(1).session(&restarted_.id)).await;
    replicas.kills(0).await;

    let over = watching[0].until("the end", |saw| saw.over).await;
    assert_eq!(name(over.last()), "deleted");
    eventually("the phone to list it no more", || async {
        !replicas.whatsapp.state().devices.iter().any(|device| device.jid == deleted.jid && device.linked)
    })
    .await;
    let ready = watching[1].awaits("ready", end).await;
    assert_eq!(ready.data["me"]["id"], restarted_.jid);
    assert_eq!(watching[1].saw().ends, []);
    assert_eq!(replicas.owner_of(&restarted_.id).await, Some(1));
}
