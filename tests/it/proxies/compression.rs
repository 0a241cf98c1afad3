//! Compression that an operator switches on for everything: what is no stream is compressed, and streams stay as they are.
//! Where the lines that keep them out are left away, this shows what each of the four makes of a stream.

use std::io::Write as _;
use std::time::Duration;

use reqwest::Response;
use reqwest::header::ACCEPT_ENCODING;

use super::client::Client;
use super::front::{Front, Kind, Plan};
use super::{KEY, builder};
use crate::support::{Session, Viewer, soon, whatsapp};

/// What a stream becomes.
#[derive(Debug, PartialEq)]
enum Fate {
    Plain,
    CompressedAndLive,
    /// Nothing comes, however much happens.
    HeldBack,
}

pub(super) async fn leaves_streams_alone(kind: Kind) {
    assert_eq!(fate(kind, compressing(kind)).await, Fate::Plain, "{kind:?}");
}

pub(super) async fn of_streams() {
    let nginx = compressing(Kind::Nginx).change("gzip off;", "");
    assert_eq!(fate(Kind::Nginx, nginx).await, Fate::CompressedAndLive);
    let apache = compressing(Kind::Apache).change("SetEnv no-gzip 1", "");
    assert_eq!(fate(Kind::Apache, apache).await, Fate::CompressedAndLive);
    let caddy = Plan::of(Kind::Caddy).change("\treverse_proxy", "\tencode gzip\n\treverse_proxy");
    assert_eq!(fate(Kind::Caddy, caddy).await, Fate::HeldBack);
}

fn compressing(kind: Kind) -> Plan {
    let plan = Plan::of(kind);
    match kind {
        Kind::Nginx => plan.around("gzip on; gzip_types *; gzip_proxied any;"),
        Kind::Apache => plan.around("SetOutputFilter DEFLATE"),
        Kind::Caddy => {
            let lines = "\t@rest not path_regexp ^/api/(sessions/[^/]+/)?events$\n\tencode @rest gzip\n\treverse_proxy";
            plan.change("\treverse_proxy", lines)
        }
        // It looks at `no-transform`, which the server says of its streams.
        Kind::Haproxy => plan.change("    mode http\n", "    mode http\n    compression algo gzip\n"),
    }
}

async fn fate(kind: Kind, plan: Plan) -> Fate {
    let whatsapp = whatsapp().await;
    let server = builder(&whatsapp).start().await.with_key(KEY);
    let front = plan.start(&server.base).await;
    let file = gets(&front, "/openapi.json").await;
    assert!(is_compressed(&file), "{kind:?}: {:?}", file.headers());
    let session = server.init("ada").await;
    session.reaches("scan_qr").await;
    let token = session.answer["streamToken"].as_str().unwrap();
    let mut answer = gets(&front, &format!("/api/sessions/{}/events?token={token}", session.id)).await;
    if !is_compressed(&answer) {
        let mut viewer = Viewer::of_answer(answer).unwrap();
        viewer.awaits("qr").await;
        session.link(&whatsapp).await;
        viewer.awaits("ready").await;
        return Fate::Plain;
    }
    link_meanwhile(&session, &whatsapp).await;
    let mut text = flate2::write::GzDecoder::new(Vec::new());
    // It is all there to be read, if it is to come at all.
    while let Ok(chunk) = tokio::time::timeout(Duration::from_secs(5), answer.chunk()).await {
        text.write_all(&chunk.unwrap().unwrap()).unwrap();
        text.flush().unwrap();
        if String::from_utf8_lossy(text.get_ref()).contains("event: ready") {
            return Fate::CompressedAndLive;
        }
    }
    assert_eq!(text.get_ref().len(), 0, "{kind:?}");
    Fate::HeldBack
}

async fn link_meanwhile(session: &Session<'_>, whatsapp: &simulator::Simulator) {
    session.link(whatsapp).await;
    session.sse().await.awaits("ready").await;
}

async fn gets(front: &Front, path: &str) -> Response {
    let client = Client::from("127.0.0.9", front).await;
    let request = client.request(reqwest::Method::GET, path).header(ACCEPT_ENCODING, "gzip");
    soon(path, request.send()).await.unwrap()
}

fn is_compressed(answer: &Response) -> bool {
    answer.headers().get("content-encoding").is_some_and(|encoding| encoding == "gzip")
}
