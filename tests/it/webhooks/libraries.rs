//! The receivers of `docs/webhooks.md`, run as they stand there, with the libraries of Standard Webhooks.

use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::{SECRET, builder};
use crate::support::proxy::free_port;
use crate::support::{eventually, soon, whatsapp};

/// Where `scripts/standardwebhooks` puts them.
const LIBRARIES: &str = "target/standardwebhooks";

/// A piece of the page.
fn code(language: &str) -> String {
    let page = std::fs::read_to_string("docs/webhooks.md").unwrap();
    let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("\n```").unwrap().0.to_owned()
}

#[tokio::test]
async fn the_documents_receivers_take_what_is_ours_and_nothing_else() {
    if !std::path::Path::new(LIBRARIES).join("done").exists() {
        eprintln!("NOT RUN: the libraries are not in {LIBRARIES}; scripts/standardwebhooks fetches them");
        return;
    }
    let whatsapp = whatsapp().await;
    for (language, program, name) in [("js", "node", "receiver.mjs"), ("python", "python3", "receiver.py")] {
        let (folder, port) = (tempfile::tempdir_in(LIBRARIES).unwrap(), free_port());
        let file = folder.path().join(name);
        std::fs::write(&file, code(language)).unwrap();
        let mut process = Command::new(program)
            .arg(&file)
            .env("PORT", &port)
            .env("WEBHOOK_SECRET", SECRET)
            .env("PYTHONPATH", format!("{LIBRARIES}/python"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = format!("http://127.0.0.1:{port}/hook");
        let forged = || {
            let body = json!({ "id": "7-1", "event": "ready", "data": {} });
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let request = reqwest::Client::new().post(&url).json(&body).header("webhook-id", "x:7-1");
            request.header("webhook-timestamp", now).header("webhook-signature", "v1,Zm9yZ2Vk").send()
        };
        eventually("the receiver to listen", || async { forged().await.is_ok() }).await;
        assert_eq!(forged().await.unwrap().status(), 400, "{language}");
        let server = builder(&whatsapp)
            .variable("WEBHOOK_URLS", &url)
            .variable("WEBHOOK_SECRET", SECRET)
            .start()
            .await;
        let session = server.init("ada").await;
        session.link(&whatsapp).await;
        loop {
            let line = soon("a line", lines.next_line()).await.unwrap().unwrap();
            let words: Vec<_> = line.split(' ').collect();
            assert!(words[0].starts_with(&format!("{}:", session.id)) && words[2] == session.id, "{line}");
            if words[1] == "ready" {
                break;
            }
        }
    }
}
