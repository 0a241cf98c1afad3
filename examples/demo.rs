//! The whole road in one command, without an account and without the internet: a WhatsApp on loopback, the server, a
//! session, and a phone that scans its QR after some seconds.
//!
//! `cargo run --example demo --features simulator`, then open the address it prints. `PORT` chooses the port.

use std::time::Duration;

use anyhow::Context as _;
use qrcast::config::Config;
use qrcast::server;
use qrcast::shutdown::{self, Shutdown};
use serde_json::{Value, json};
use simulator::{Scan, Simulator};
use tokio::net::TcpListener;

/// Time to open the page and look at the QR.
const BEFORE_THE_SCAN: Duration = Duration::from_secs(8);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let whatsapp = Simulator::start(simulator::Config::default()).await?;
    #[expect(clippy::disallowed_methods, reason = "an example reads its own environment")]
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let url = whatsapp.url();
    // Its accounts end with it.
    let folder = tempfile::tempdir()?;
    let data_dir = folder.path().display().to_string();
    let config = Config::read(|name| match name {
        "PORT" => Some(port.clone()),
        "DATA_DIR" => Some(data_dir.clone()),
        "WHATSAPP_URL" => Some(url.clone()),
        _ => None,
    })?;
    let address = config.address();
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let base = format!("http://{}", listener.local_addr()?);
    let stop = Shutdown::new();
    tokio::select! {
        result = server::run(config, listener, stop.clone()) => result?,
        result = link_an_account(&base, &whatsapp) => result?,
    }
    whatsapp.shutdown().await;
    Ok(())
}

async fn link_an_account(base: &str, whatsapp: &Simulator) -> anyhow::Result<()> {
    let http = reqwest::Client::new();
    let init = http.post(format!("{base}/api/init-session")).json(&json!({ "userId": "demo" }));
    let session: Value = init.send().await?.error_for_status()?.json().await?;
    let id = session["sessionId"].as_str().context("no sessionId")?;
    say(&format!("open  {base}{}", session["linkUrl"].as_str().unwrap_or_default()));
    say(&format!("a phone scans in {} s; the server goes on until Ctrl-C", BEFORE_THE_SCAN.as_secs()));
    tokio::time::sleep(BEFORE_THE_SCAN).await;
    let qr: Value =
        http.get(format!("{base}/api/qr-code/{id}")).send().await?.error_for_status()?.json().await?;
    let qr = qr["qrString"].as_str().context("no QR")?.to_owned();
    let jid = whatsapp.scan(Scan { qr, push_name: Some("Ada Lovelace".into()), ..Scan::default() }).await?;
    say(&format!("linked {jid}"));
    shutdown::signal().await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example speaks to the person who runs it")]
fn say(line: &str) {
    println!("{line}");
}
