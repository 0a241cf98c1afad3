//! Whichever replica is asked: the same stream with the same ids, the same answers, the same limits.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::link::assert_ids_rise;
use crate::support::redis::Redis;
use crate::support::replicas::{Replicas, is_mixed};
use crate::support::{Seen, Server, Viewer, eventually};

/// The next event, which each viewer must see alike.
async fn all_see(viewers: &mut [Viewer], event: &str) -> Seen {
    let seen = viewers[0].expects(event).await;
    for viewer in &mut viewers[1..] {
        assert_eq!(comparable(viewer.expects(event).await), comparable(seen.clone()));
    }
    seen
}

/// Another version may draw the same picture in other bytes.
fn comparable(mut seen: Seen) -> Seen {
    if is_mixed()
        && let Some(data) = seen.data.as_object_mut()
    {
        data.remove("qrDataUrl");
    }
    seen
}

#[tokio::test]
async fn a_session_made_on_one_is_streamed_alike_by_all() {
    let redis = Redis::start().await;
    let replicas = Replicas::on(&redis.url()).start(3).await;
    let session = replicas.at(0).init("ada").await;
    let mut viewers = [
        session.sse().await,
        replicas.at(1).session(&session.id).sse().await,
        replicas.at(2).session(&session.id).websocket().await,
    ];
    for viewer in &mut viewers {
        let opening = viewer.expects("status").await;
        assert_eq!((&opening.data["resumed"], &opening.data["gap"]), (&json!(false), &json!(false)));
    }
    let mut story = vec![all_see(&mut viewers, "qr").await];
    let jid = replicas.scans(&story[0]).await;
    story.push(all_see(&mut viewers, "authenticated").await);
    story.push(all_see(&mut viewers, "ready").await);
    assert_eq!(story[2].data["me"]["id"], jid);
    for _ in 0..3 {
        replicas.whatsapp.drop_connections(Some(&jid)).unwrap();
        story.push(all_see(&mut viewers, "disconnected").await);
        story.push(all_see(&mut viewers, "ready").await);
    }
    assert_ids_rise(&story);

    // From each place in it, on each replica and over each transport.
    for (index, cursor) in story.iter().map(|seen| seen.id.clone()).enumerate() {
        for number in 0..3 {
            let session = replicas.at(number).session(&session.id);
            let cursor = cursor.as_deref();
            for mut viewer in [session.sse_after(cursor).await, session.websocket_after(cursor).await] {
                let opening = viewer.expects("status").await;
                assert_eq!((&opening.data["resumed"], &opening.data["gap"]), (&json!(true), &json!(false)));
                for known in &story[index + 1..] {
                    assert_eq!(viewer.expects(&known.event).await, *known);
                }
            }
        }
    }

    replicas.whatsapp.logout(&jid).unwrap();
    let last = all_see(&mut viewers, "disconnected").await;
    assert_eq!(last.data["reason"], "logged_out");
    let [on_a, on_b, on_c] = &mut viewers;
    assert_eq!((on_a.ends().await, on_b.ends().await, on_c.ends().await), (None, None, Some(1000)));
    for number in 0..3 {
        let again = Viewer::sse(&replicas.at(number).base, &session.id, last.id.as_deref()).await;
        assert_eq!(again.err(), Some(StatusCode::NO_CONTENT));
    }
}

#[tokio::test]
async fn every_replica_shows_the_qr_the_status_and_the_list() {
    let redis = Redis::start().await;
    let replicas = Replicas::on(&redis.url()).start(3).await;
    let metadata = json!({ "order": 7 });
    let session = replicas.at(0).init_with(json!({ "userId": "ada", "metadata": metadata })).await;
    let qr = session.sse().await.awaits("qr").await;
    let picture = qrcast::qr::png(qr.data["qrString"].as_str().unwrap());
    for number in 0..3 {
        let session = replicas.at(number).session(&session.id);
        let (status, polled) = session.qr_code().await;
        assert_eq!(status, StatusCode::OK);
        let picture_too = if is_mixed() { &[][..] } else { &["qrDataUrl"] };
        for field in ["qrString", "expiresAt"].iter().chain(picture_too).copied() {
            assert_eq!(polled[field], qr.data[field], "{field} from {number}");
        }
        let png = session.server.get(&format!("/api/qr-code/{}.png", session.id)).await;
        assert_eq!(png.headers()["cache-control"], "no-store");
        assert!(is_mixed() || png.bytes().await.unwrap() == picture);
        let svg = session.server.get(&format!("/api/qr-code/{}.svg", session.id)).await;
        assert!(svg.text().await.unwrap().contains("<svg"));
    }
    let jid = replicas.scans(&qr).await;
    session.reaches("connected").await;
    for number in 0..3 {
        let session = replicas.at(number).session(&session.id);
        let status = session.status().await;
        assert_eq!((&status["status"], &status["me"]["id"]), (&json!("connected"), &json!(jid)));
        assert_eq!((&status["owner"], &status["userId"]), (&json!(replicas.name(0)), &json!("ada")));
        assert_eq!((&status["metadata"], &status["clientActive"]), (&metadata, &json!(true)));
        assert_eq!(session.qr_code().await.0, StatusCode::CONFLICT);
        let health: Value = session.server.get("/health").await.json().await.unwrap();
        assert_eq!(health["storage"], json!({ "type": "Redis", "redis_connected": true }));
        assert_eq!(
            (&health["status"], &health["replica"]),
            (&json!("healthy"), &json!(replicas.name(number)))
        );
    }
}

#[tokio::test]
async fn the_list_is_the_same_everywhere_and_counts_everyones_viewers() {
    let redis = Redis::start().await;
    let replicas = Replicas::on(&redis.url()).start(3).await;
    let mut ids = Vec::new();
    for (number, user) in [(0, "ada"), (1, "bob"), (2, "cyd"), (0, "ada"), (1, "dan")] {
        ids.push(replicas.at(number).init(user).await.id);
    }
    ids.sort();
    let viewers = [
        replicas.at(0).session(&ids[0]).sse().await,
        replicas.at(1).session(&ids[0]).sse().await,
        replicas.at(2).session(&ids[0]).websocket().await,
    ];
    for number in 0..3 {
        let list = async |query: &str| -> Value {
            replicas.at(number).get(&format!("/api/sessions{query}")).await.json().await.unwrap()
        };
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = list(&format!("?limit=2{cursor}")).await;
            let sessions = page["sessions"].as_array().unwrap();
            seen.extend(sessions.iter().map(|session| session["sessionId"].as_str().unwrap().to_owned()));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, ids, "from {number}");
        assert_eq!(list("?userId=ada").await["sessions"].as_array().unwrap().len(), 2);
        // Up to ten seconds old.
        eventually("three viewers", async || list("?limit=1").await["sessions"][0]["viewers"] == 3).await;
    }
    drop(viewers);
}

async fn init(server: &Server, key: &str, user: &str) -> (StatusCode, Value) {
    let request = server.request(Method::POST, "/api/init-session").header("Idempotency-Key", key);
    let response = request.json(&json!({ "userId": user })).send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

#[tokio::test]
async fn the_same_request_to_two_replicas_makes_one_session() {
    let redis = Redis::start().await;
    let replicas = Replicas::on(&redis.url()).start(2).await;
    let at_once = tokio::join!(init(replicas.at(0), "k1", "ada"), init(replicas.at(1), "k1", "ada"));
    let mut made = Vec::new();
    for (status, answer) in [at_once.0, at_once.1] {
        // The other one may still run.
        assert!(matches!(status, StatusCode::OK | StatusCode::CONFLICT), "{status}: {answer}");
        made.extend(answer["sessionId"].as_str().map(str::to_owned));
    }
    for number in 0..2 {
        let (status, answer) = init(replicas.at(number), "k1", "ada").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        made.push(answer["sessionId"].as_str().unwrap().to_owned());
        let (status, error) = init(replicas.at(number), "k1", "bob").await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{error}");
    }
    made.dedup();
    assert_eq!(made.len(), 1, "{made:?}");
    let list: Value = replicas.at(1).get("/api/sessions").await.json().await.unwrap();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1, "{list}");
}

#[tokio::test]
async fn the_limits_hold_over_all_replicas() {
    let redis = Redis::start().await;
    let plan =
        Replicas::on(&redis.url()).variable("MAX_SESSIONS", "4").variable("MAX_SESSIONS_PER_USER", "2");
    let replicas = plan.start(3).await;
    let init = async |number: usize, user: &str| {
        let response = replicas.at(number).post("/api/init-session", &json!({ "userId": user })).await;
        let status = response.status();
        (status, response.json::<Value>().await.unwrap())
    };
    // Three at once, where there is room for two.
    let asked = tokio::join!(init(0, "ada"), init(1, "ada"), init(2, "ada"));
    let asked = [asked.0, asked.1, asked.2];
    let refused: Vec<_> = asked.iter().filter(|(status, _)| *status != StatusCode::OK).collect();
    assert_eq!(refused.len(), 1, "{asked:?}");
    assert_eq!(
        (refused[0].0, &refused[0].1["code"]),
        (StatusCode::TOO_MANY_REQUESTS, &json!("SESSION_LIMIT"))
    );
    assert_eq!(init(0, "bob").await.0, StatusCode::OK);
    assert_eq!(init(1, "cyd").await.0, StatusCode::OK);
    assert_eq!(init(2, "dan").await.0, StatusCode::TOO_MANY_REQUESTS);
    // A deleted session makes room, for that user and for all.
    let first = asked.iter().find_map(|(_, answer)| answer["sessionId"].as_str()).unwrap();
    assert_eq!(replicas.at(2).session(first).delete().await, StatusCode::NO_CONTENT);
    eventually("room for one more", async || init(1, "ada").await.0 == StatusCode::OK).await;
    assert_eq!(init(0, "dan").await.0, StatusCode::TOO_MANY_REQUESTS);
}
