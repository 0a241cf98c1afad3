//! What others' programs make of the descriptions: a client that is generated from one links an account, and the other is read by
//! AsyncAPI's own parser.

use std::path::Path;

use simulator::Scan;

use crate::support::program::{Program, npm_installs, runs};
use crate::support::{Server, soon, whatsapp};

/// A copy of the example, with what it needs.
async fn example(server: &Server) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().to_str().unwrap();
    runs(Path::new("."), "cp", &["-r", "examples/generated/.", copy]);
    runs(folder.path(), "npm", &["ci", "--no-audit", "--no-fund"]);
    let document = server.get("/openapi.json").await.text().await.unwrap();
    std::fs::write(folder.path().join("openapi.json"), document).unwrap();
    folder
}

#[tokio::test]
#[ignore = "long: installs a generator with npm"]
async fn a_generated_client_compiles_and_links_an_account() {
    if !npm_installs() {
        return;
    }
    let whatsapp = whatsapp().await;
    let keys = Server::builder(&whatsapp.url()).variable("API_KEYS", "main:all-of-it");
    let server = keys.start().await.with_key("all-of-it");
    let folder = example(&server).await;
    runs(folder.path(), "npm", &["run", "generate"]);
    runs(folder.path(), "npm", &["run", "build"]);

    let mut client = tokio::process::Command::new("node");
    client.args(["built/link.js", &server.base, "all-of-it"]).current_dir(folder.path());
    let mut client = Program::start(&mut client);
    let qr = client.until("qr ").await.split_off("qr ".len());
    let scan = Scan { qr, ..Scan::default() };
    let jid = soon("a scan", whatsapp.scan(scan)).await.unwrap();
    assert_eq!(client.until("linked ").await, format!("linked {jid}"));
    // It has deleted the session, and heard of it.
    client.until("disconnected").await;
    assert_eq!(client.ends().await, Some(0));
}

#[tokio::test]
#[ignore = "long: installs a parser with npm"]
async fn asyncapis_own_parser_finds_nothing_wrong() {
    if !npm_installs() {
        return;
    }
    let server = Server::builder(&whatsapp().await.url()).start().await;
    let folder = tempfile::tempdir().unwrap();
    let document = server.get("/asyncapi.json").await.text().await.unwrap();
    std::fs::write(folder.path().join("asyncapi.json"), document).unwrap();
    std::fs::copy("tests/js/asyncapi.mjs", folder.path().join("asyncapi.mjs")).unwrap();
    let parser =
        ["install", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved", "@asyncapi/parser@3.6.6"];
    runs(folder.path(), "npm", &parser);
    let said = runs(folder.path(), "node", &["asyncapi.mjs", "asyncapi.json"]);
    assert!(String::from_utf8_lossy(&said.stdout).starts_with("5 channels, "), "{said:?}");
}
