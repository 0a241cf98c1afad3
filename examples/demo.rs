//! The whole road in one command, without an account and without the internet: a WhatsApp on loopback, the server, a
//! session, and a phone that scans its QR after some seconds.
//!
//! `cargo run --example demo --features simulator`, then open the address it prints. `PORT` chooses the port, and
//! `ALLOWED_ORIGINS` the pages of yours that may use it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

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
    let variable = |name: &str| std::env::var(name).ok();
    let url = whatsapp.url();
    // Its accounts end with it.
    let folder = tempfile::tempdir()?;
    let data_dir = folder.path().display().to_string();
    let config = Config::read(|name| match name {
        "PORT" | "ALLOWED_ORIGINS" => variable(name),
        "DATA_DIR" => Some(data_dir.clone()),
        "WHATSAPP_URL" => Some(url.clone()),
        // Ctrl-C ends it at once: no balancer, and nowhere else to go.
        "READY_DELAY_MS" | "DRAIN_SECONDS" => Some("0".into()),
        _ => None,
    })?;
    let address = config.address();
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let base = format!("http://{}", listener.local_addr()?);
    let stop = Shutdown::new();
    let on_signal = stop.clone();
    stop.spawn(async move {
        // Without signals it is ended by force.
        let _ = shutdown::at_signals(&on_signal).await;
    });
    tokio::select! {
        result = server::run(config, listener, stop.clone()) => result?,
        result = until(&stop, link_accounts(&base, &whatsapp)) => result?,
    }
    whatsapp.shutdown().await;
    Ok(())
}

/// Runs until the server is told to stop, which then ends the demo by itself.
async fn until<T>(stop: &Shutdown, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        () = stop.begun() => std::future::pending().await,
    }
}

/// Makes a session to look at, and plays the phone of everyone who is shown a QR here.
async fn link_accounts(base: &str, whatsapp: &Simulator) -> anyhow::Result<()> {
    let http = reqwest::Client::new();
    let init = http.post(format!("{base}/api/init-session")).json(&json!({ "userId": "demo" }));
    let session: Value = init.send().await?.error_for_status()?.json().await?;
    say(&format!("open  {base}{}", session["linkUrl"].as_str().unwrap_or_default()));
    say(&format!("or    {base}/ for a session of your own"));
    say(&format!("a phone scans each QR after {} s; Ctrl-C ends it all", BEFORE_THE_SCAN.as_secs()));
    let mut shown: HashMap<String, Instant> = HashMap::new();
    loop {
        let list = http.get(format!("{base}/api/sessions?status=scan_qr&limit=200"));
        let list: Value = list.send().await?.error_for_status()?.json().await?;
        let ids = list["sessions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|session| session["sessionId"].as_str());
        for id in ids {
            if shown.entry(id.to_owned()).or_insert_with(Instant::now).elapsed() >= BEFORE_THE_SCAN {
                shown.remove(id);
                scan(&http, base, id, whatsapp).await?;
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn scan(http: &reqwest::Client, base: &str, id: &str, whatsapp: &Simulator) -> anyhow::Result<()> {
    let answer = http.get(format!("{base}/api/qr-code/{id}")).send().await?;
    // Between two QRs, or linked meanwhile.
    let Ok(answer) = answer.error_for_status() else { return Ok(()) };
    let qr: Value = answer.json().await?;
    let qr = qr["qrString"].as_str().context("no QR")?.to_owned();
    match whatsapp.scan(Scan { qr, push_name: Some("Ada Lovelace".into()), ..Scan::default() }).await {
        Ok(jid) => say(&format!("linked {jid}")),
        Err(error) => say(&format!("not linked: {error}")),
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example speaks to the person who runs it")]
fn say(line: &str) {
    println!("{line}");
}
