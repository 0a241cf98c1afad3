//! Webhooks, sent by the real binary to a real receiver.

mod libraries;
mod receivers;
mod replicas;

use serde_json::{Value, json};

use crate::support::receiver::{Conduct, Receiver};
use crate::support::server::Builder;
use crate::support::{Seen, Server, Session, eventually, whatsapp};

/// Of the tests' `WEBHOOK_URLS`.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A server that may send to this machine. Its pauses are short: the first after a failure is half a second.
pub(crate) fn builder(whatsapp: &simulator::Simulator) -> Builder {
    Server::builder(&whatsapp.url())
        .variable("WEBHOOK_ALLOW_PRIVATE", "true")
        .variable("WHATSAPP_TIME_FACTOR", "10")
}

fn sends_to(builder: Builder, receiver: &Receiver) -> Builder {
    builder.variable("WEBHOOK_URLS", &receiver.url).variable("WEBHOOK_SECRET", SECRET)
}

/// What a receiver is told of the receivers of a session.
async fn listed(server: &Server, session: &str) -> Vec<Value> {
    let answer = server.get(&format!("/api/webhooks?sessionId={}", session.replace('+', "%2B"))).await;
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    answer["receivers"].as_array().unwrap().clone()
}

/// Everything of the stream has come once, in its order, signed, and with the same JSON but for the picture.
fn has_what_the_stream_had(receiver: &Receiver, session: &Session<'_>, seen: &[Seen], secret: &str) {
    let letters = receiver.taken(&session.id);
    let of_the_stream: Vec<_> = seen.iter().filter(|seen| seen.id.is_some()).collect();
    let ids: Vec<_> = letters.iter().map(|letter| letter.id.clone()).collect();
    let expected: Vec<_> =
        of_the_stream.iter().map(|seen| format!("{}:{}", session.id, seen.id.as_ref().unwrap())).collect();
    assert_eq!(ids, expected);
    for (letter, seen) in letters.iter().zip(of_the_stream) {
        assert!(letter.is_signed_with(secret), "{letter:?}");
        let mut data = seen.data.clone();
        data.as_object_mut().unwrap().remove("qrDataUrl");
        assert_eq!(letter.event(), json!({ "id": seen.id, "event": seen.event, "data": data }));
    }
}

#[tokio::test]
async fn a_links_events_come_once_in_order_and_signed() {
    let (whatsapp, receiver, own) = (whatsapp().await, Receiver::start().await, Receiver::start().await);
    let server = sends_to(builder(&whatsapp), &receiver).start().await;
    let session = server.init_with(json!({ "userId": "ada", "webhookUrl": own.url })).await;
    let mut stream = session.sse().await;
    session.link(&whatsapp).await;
    session.delete().await;
    let seen = stream.until("disconnected").await;
    let answer: Value = server.get("/api/webhooks").await.json().await.unwrap();
    let secret = answer["secret"].as_str().unwrap();
    for (receiver, secret) in [(&receiver, SECRET), (&own, secret)] {
        receiver.awaits(&session.id, "disconnected").await;
        has_what_the_stream_had(receiver, &session, &seen, secret);
    }
    assert!(!receiver.letters()[0].is_signed_with(secret) && !own.letters()[0].is_signed_with(SECRET));
    eventually("all to be delivered", || async {
        listed(&server, &session.id).await.iter().all(|listed| listed["waiting"] == 0)
    })
    .await;
    let log = server.log().join("\n");
    assert!(!log.contains("hunter2") && !log.contains(secret) && !log.contains(&SECRET[6..]));
}

#[tokio::test]
async fn what_fails_for_a_while_comes_in_order_when_that_is_over() {
    let (whatsapp, receiver) = (whatsapp().await, Receiver::start().await);
    let server = sends_to(builder(&whatsapp), &receiver).start().await;
    receiver.behaves_once([
        Conduct::Says(500, ""),
        Conduct::Closes,
        Conduct::Says(301, "location: http://169.254.169.254/latest/meta-data\r\n"),
        Conduct::TakesAfter(std::time::Duration::from_millis(700)),
        Conduct::Says(503, "retry-after: 1\r\n"),
    ]);
    let session = server.init("ada").await;
    let mut stream = session.sse().await;
    session.link(&whatsapp).await;
    let seen = stream.until("ready").await;
    receiver.awaits(&session.id, "ready").await;
    let letters = receiver.letters();
    let mut ids: Vec<_> = letters.iter().map(|letter| letter.id.clone()).collect();
    assert!(ids.len() > receiver.taken(&session.id).len());
    // A try again is the same event, and none comes before the one before it was taken.
    ids.dedup();
    let of_the_stream: Vec<_> = seen.iter().filter_map(|seen| seen.id.clone()).collect();
    let expected: Vec<_> = of_the_stream.iter().map(|id| format!("{}:{id}", session.id)).collect();
    let known = |id: &String| expected.contains(id);
    assert!(
        ids.iter().all(known) && ids.is_sorted_by_key(|id| expected.iter().position(|known| known == id))
    );
    let listed = listed(&server, &session.id).await;
    assert_eq!((&listed[0]["state"], &listed[0]["lastError"]), (&json!("ok"), &Value::Null), "{listed:?}");
}

#[tokio::test]
async fn a_receiver_that_hangs_disturbs_no_stream_and_no_other_receiver() {
    let (whatsapp, hangs, good) = (whatsapp().await, Receiver::start().await, Receiver::start().await);
    hangs.behaves(Conduct::Hangs);
    let urls = format!("{},{}", hangs.url, good.url);
    let server = builder(&whatsapp)
        .variable("WEBHOOK_URLS", &urls)
        .variable("WEBHOOK_SECRET", SECRET)
        .variable("WEBHOOK_EVENTS", "authenticated, ready, disconnected")
        .start()
        .await;
    let sessions =
        futures::future::join_all((0..4).map(|at| server.init_with(json!({ "userId": format!("ada{at}") }))))
            .await;
    let begun = std::time::Instant::now();
    for session in &sessions {
        let mut stream = session.sse().await;
        session.link(&whatsapp).await;
        stream.awaits("ready").await;
        good.awaits(&session.id, "ready").await;
        assert_eq!(good.events(&session.id), ["authenticated", "ready"], "no event that was not chosen");
    }
    assert!(begun.elapsed() < crate::support::PATIENCE && hangs.letters().iter().all(|letter| !letter.taken));
    hangs.has_letters(1).await;
    for session in &sessions {
        let listed = listed(&server, &session.id).await;
        assert_eq!((&listed[0]["state"], &listed[1]["state"]), (&json!("ok"), &json!("ok")), "{listed:?}");
        assert_eq!((&listed[0]["waiting"], &listed[1]["waiting"]), (&json!(2), &json!(0)), "{listed:?}");
    }
}

#[tokio::test]
async fn what_was_sent_is_sent_again_when_somebody_asks() {
    let (whatsapp, receiver) = (whatsapp().await, Receiver::start().await);
    let server = builder(&whatsapp).variable("WEBHOOK_EVENTS", "authenticated,ready").start().await;
    let session = server.init_with(json!({ "userId": "ada", "webhookUrl": receiver.url })).await;
    session.link(&whatsapp).await;
    receiver.awaits(&session.id, "ready").await;
    let resend = async |after: &str| {
        let asked =
            server.post("/api/webhooks/resend", &json!({ "sessionId": session.id, "after": after })).await;
        (asked.status().as_u16(), asked.json::<Value>().await.unwrap())
    };
    let first = receiver.taken(&session.id)[0].event()["id"].as_str().unwrap().to_owned();
    assert_eq!(resend(&first).await, (202, json!({ "sessionId": session.id, "receivers": 1 })));
    eventually("the second to come again", || async { receiver.letters().len() == 3 }).await;
    assert_eq!(resend("0-0").await.0, 202);
    eventually("both to come again", || async { receiver.letters().len() == 5 }).await;
    assert_eq!(receiver.events(&session.id), ["authenticated", "ready", "ready", "authenticated", "ready"]);
    let ids: std::collections::HashSet<_> = receiver.letters().into_iter().map(|letter| letter.id).collect();
    assert_eq!(ids.len(), 2, "the same event has the same id");
    for (after, field) in [("9999999999999-1", "after"), ("x", "after"), ("", "after")] {
        let (status, said) = resend(after).await;
        assert_eq!(
            (status, &said["code"], &said["details"]["field"]),
            (400, &json!("INVALID_BODY"), &json!(field))
        );
    }
    let nobody = "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11";
    let unknown = server.post("/api/webhooks/resend", &json!({ "sessionId": nobody, "after": "0-0" })).await;
    assert_eq!(unknown.status(), 404);
}
