//! Traces, in a build with the feature `otlp`: a collector on loopback gets the whole way of a link. What it is sent is read with
//! the field numbers of `opentelemetry/proto/trace/v1/trace.proto`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;

use crate::support::{Server, eventually, whatsapp};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
}

/// The fields of a message that hold bytes: their numbers, and the bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let end = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap();
        let (number, rest) = bytes.split_at(end + 1);
        *bytes = rest;
        number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let length = match tag & 7 {
            0 => {
                varint(&mut message);
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)).unwrap(),
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (value, rest) = message.split_at(length);
        message = rest;
        if tag & 7 == 2 {
            found.push((tag >> 3, value));
        }
    }
    found
}

fn all<'a>(messages: &[&'a [u8]], number: u64) -> Vec<&'a [u8]> {
    let found = messages.iter().flat_map(|message| fields(message));
    found.filter(|(field, _)| *field == number).map(|(_, value)| value).collect()
}

/// Of an `ExportTraceServiceRequest`.
fn spans(body: &[u8]) -> Vec<Span> {
    let spans = all(&all(&all(&[body], 1), 2), 2);
    let spans = spans.into_iter().map(|span| {
        let fields: HashMap<_, _> = fields(span).into_iter().collect();
        let bytes = |number: u64| fields.get(&number).map(|value| value.to_vec()).unwrap_or_default();
        Span { trace: bytes(1), id: bytes(2), parent: bytes(4), name: String::from_utf8(bytes(5)).unwrap() }
    });
    spans.collect()
}

#[tokio::test]
async fn a_trace_goes_from_the_request_through_the_link_to_each_event() {
    let heard: Arc<Mutex<Vec<Span>>> = Arc::default();
    let collected = heard.clone();
    let collector = Router::new()
        .route("/v1/traces", post(async move |body: Bytes| collected.lock().unwrap().extend(spans(&body))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, collector).await });

    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url())
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .variable("OTEL_BSP_SCHEDULE_DELAY", "100")
        .variable("LOG_FORMAT", "json")
        .variable("RUST_LOG", "warn,qrcast::server=info,qrcast::http=debug")
        .start()
        .await;
    let session = server.init("ada").await;
    session.link(&whatsapp).await;
    session.sse().await.awaits("ready").await;

    let named = |name: &str| heard.lock().unwrap().iter().find(|span| span.name == name).cloned();
    eventually("the link's span, which ends last", async || named("link").is_some()).await;
    let request = named("POST /api/init-session").unwrap();
    let link = named("link").unwrap();
    assert!(request.parent.is_empty());
    assert_eq!((&link.trace, &link.parent), (&request.trace, &request.id));
    for event in ["qr", "authenticated", "ready"] {
        let event = named(event).unwrap();
        assert_eq!((&event.trace, &event.parent), (&request.trace, &link.id), "{}", event.name);
    }
    // No line of the log stands in one of these spans.
    for line in server.log() {
        assert!(!line.contains("otel.name") && !line.contains("qrcast::otlp"), "{line}");
    }
    let answered = server.log().into_iter().find(|line| line.contains("request answered")).unwrap();
    let answered: serde_json::Value = serde_json::from_str(&answered).unwrap();
    assert_eq!(answered["spans"].as_array().unwrap().len(), 1, "{answered}");
}

#[tokio::test]
async fn a_collector_that_is_away_costs_traces_and_nothing_else() {
    let whatsapp = whatsapp().await;
    let mut server = Server::builder(&whatsapp.url())
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .start()
        .await;
    server.init("ada").await.link(&whatsapp).await;
    assert_eq!(server.terminate().await, Some(0));
}
