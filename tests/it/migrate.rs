//! From one replica on SQLite to Redis: `qrcast migrate` carries everything over, and the folder is never served again.

use std::path::Path;
use std::process::Output;

use futures::future::join_all;
use reqwest::StatusCode;
use simulator::Simulator;
use tokio::process::Command;

use crate::link::assert_ids_rise;
use crate::support::redis::Redis;
use crate::support::{Seen, Server, eventually, soon, whatsapp};

const LINKED: usize = 5;

/// One that a phone has linked.
struct Linked {
    id: String,
    jid: String,
    seen: Vec<Seen>,
}

/// The binary on this folder, without a server's variables.
async fn qrcast(arguments: &[&str], folder: &Path, redis: Option<&Redis>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qrcast"));
    command.args(arguments).env_clear().env("DATA_DIR", folder).env("PORT", "0").env("RUST_LOG", "off");
    command.envs(redis.map(|redis| ("REDIS_URL", redis.url())));
    soon("the program to end", command.kill_on_drop(true).output()).await.unwrap()
}

/// Its only line, and its exit code.
fn said(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty());
    (output.status.code(), text.trim_end().to_owned())
}

/// It has opened its store.
async fn ready(server: Server) -> Server {
    eventually("a ready server", || async { server.get("/readyz").await.status() == StatusCode::OK }).await;
    server
}

async fn link(server: &Server, whatsapp: &Simulator, user: &str) -> Linked {
    let session = server.init(user).await;
    let mut viewer = session.sse().await;
    let jid = session.link(whatsapp).await;
    let seen = viewer.until("ready").await;
    Linked { id: session.id, jid, seen }
}

#[tokio::test]
async fn linked_sessions_move_to_redis_without_a_scan() {
    let (whatsapp, redis) = (whatsapp().await, Redis::start().await);
    let mut server = ready(Server::builder(&whatsapp.url()).start().await).await;
    let users: Vec<_> = (0..LINKED).map(|n| format!("linked{n}")).collect();
    let linked = join_all(users.iter().map(|user| link(&server, &whatsapp, user))).await;
    let ended = link(&server, &whatsapp, "ended").await;
    whatsapp.logout(&ended.jid).unwrap();
    let end = server.session(&ended.id).reaches("disconnected").await;
    let waiting = server.init("waiting").await;
    let (waiting, qr) = (waiting.id.clone(), waiting.sse().await.awaits("qr").await);
    let old = server.builder_again();
    assert_eq!(server.terminate().await, Some(0));

    let (code, summary) = said(&qrcast(&["migrate"], old.folder(), Some(&redis)).await);
    assert_eq!(code, Some(0), "{summary}");
    let counted = format!("moved {} sessions, {LINKED} linked devices and ", LINKED + 2);
    assert!(summary.starts_with(&counted), "{summary}");
    let (code, refused) = said(&qrcast(&[], old.folder(), None).await);
    assert_eq!(code, Some(1));
    assert!(refused.contains("was moved to Redis by `qrcast migrate`: set REDIS_URL"), "{refused}");
    let (code, refused) = said(&qrcast(&["migrate"], old.folder(), Some(&redis)).await);
    assert_eq!(code, Some(1));
    assert!(refused.contains("was moved to Redis before; nothing is left to do"), "{refused}");

    let replica = Server::builder(&whatsapp.url()).variable("REDIS_URL", &redis.url());
    let server = ready(replica.start().await).await;
    for Linked { id, jid, mut seen } in linked {
        let session = server.session(&id);
        let status = session.reaches("connected").await;
        assert_eq!(status["me"]["id"], *jid);
        let mut viewer = session.sse_after(seen.last().unwrap().id.as_deref()).await;
        let opening = viewer.expects("status").await;
        assert!(opening.data["resumed"] == true && opening.data["gap"] == false, "{opening:?}");
        // The last word of the old server, then the first of the new one.
        let parted = viewer.expects("disconnected").await;
        assert_eq!(parted.data["reason"], "shutdown");
        seen.extend([parted, viewer.expects("ready").await]);
        seen.retain(|seen| seen.id.is_some());
        assert_ids_rise(&seen);
    }
    let after = server.session(&ended.id).status().await;
    for field in ["status", "reason", "lastEventId", "me"] {
        assert_eq!(after[field], end[field], "{field}");
    }
    let mut viewer = server.session(&waiting).sse_after(qr.id.as_deref()).await;
    let again = viewer.awaits("qr").await;
    assert_ids_rise(&[qr, again]);
    let devices = whatsapp.state().devices;
    assert_eq!(devices.len(), LINKED + 1, "nobody scanned again");
    assert!(devices.iter().all(|device| device.concurrent == 1), "{devices:?}");
}

#[tokio::test]
async fn what_cannot_be_moved_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let (code, refused) = said(&qrcast(&["migrate"], folder.path(), None).await);
    assert_eq!(
        (code, refused.as_str()),
        (Some(64), "REDIS_URL: not set; it says where to move the sessions to")
    );
    let redis = Redis::start().await;
    let (code, refused) = said(&qrcast(&["migrate"], folder.path(), Some(&redis)).await);
    assert_eq!(code, Some(1));
    assert!(refused.contains("has no database: there is nothing to move"), "{refused}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let whatsapp = whatsapp().await;
    let server = ready(Server::builder(&whatsapp.url()).start().await).await;
    let running = server.builder_again();
    let (code, refused) = said(&qrcast(&["migrate"], running.folder(), Some(&redis)).await);
    assert_eq!(code, Some(1));
    assert!(refused.contains("is in use by another process"), "{refused}");
}
