//! What an account that has been in use costs: memory at its peak while it is linked and at rest, rows, processor time.
//!
//! `cargo bench --features simulator --bench history [-- CONTACTS…]`, by default 0, 100, 2,000 and 10,000. A server of its own
//! for each, with one session to warm up; then [`ACCOUNTS`] accounts are linked one after the other. WhatsApp and its media
//! host are the simulator, in this process. Memory is the server's own: `VmHWM`, reset before each link, and PSS after a
//! settle.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says so by ending")]
#![expect(clippy::disallowed_methods, reason = "its tasks end with it")]
#![expect(clippy::print_stdout, reason = "its result")]

#[expect(dead_code, unused_imports, reason = "the tests' support; a benchmark needs some of it")]
#[path = "../tests/it/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use rusqlite::Connection;
use simulator::{Account, Config, Scan, Simulator};
use support::{Server, eventually};

/// How many accounts a figure is the median of.
const ACCOUNTS: usize = 5;

/// Memory that is given back comes back within this time.
const SETTLE: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() {
    let mut sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![0, 100, 2000, 10_000];
    }
    println!("| contacts | ready after | CPU of the link | peak above rest | at rest | rows | on disk |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for contacts in sizes {
        row(contacts).await;
    }
}

async fn row(contacts: usize) {
    let whatsapp = Simulator::start(Config::default()).await.unwrap();
    let server = Server::builder(&whatsapp.url()).start().await;
    link(&whatsapp, &server, "905550000000", 0).await;
    let pid = server.pid();
    settle().await;
    let (rest_before, rows_before, bytes_before) = (pss(pid), rows(&server), disk(&server));
    let (mut ready, mut cpu, mut peak) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..ACCOUNTS {
        let phone = format!("90555123456{number}");
        let resident = status(pid, "VmRSS:");
        // Sets the high-water mark to what is resident now.
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        let used = cpu_seconds(pid);
        ready.push(link(&whatsapp, &server, &phone, contacts).await.as_secs_f64());
        cpu.push(cpu_seconds(pid) - used);
        peak.push(status(pid, "VmHWM:").saturating_sub(resident) as f64);
    }
    settle().await;
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / ACCOUNTS as f64;
    println!(
        "| {contacts} | {:.2} s | {:.0} ms | {:.1} MiB | {:.0} KiB | {:.0} | {:.0} KiB |",
        median(&mut ready),
        median(&mut cpu) * 1000.0,
        median(&mut peak) / 1024.0,
        each(pss(pid), rest_before),
        each(rows(&server), rows_before),
        each(disk(&server), bytes_before) / 1024.0,
    );
}

/// Links an account; from the scan to `ready`, and then until its regular settings have come as well.
async fn link(whatsapp: &Simulator, server: &Server, phone: &str, contacts: usize) -> Duration {
    let account = Account { phone: phone.into(), contacts: Some(contacts), ..Account::default() };
    whatsapp.account(account).await.unwrap();
    let requests = whatsapp.media_requests();
    let session = server.init(phone).await;
    let mut viewer = session.sse().await;
    let qr = viewer.awaits("qr").await.data["qrString"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    whatsapp.scan(Scan { qr, phone: Some(phone.into()), push_name: Some("Ada".into()) }).await.unwrap();
    viewer.awaits("ready").await;
    let ready = begun.elapsed();
    if contacts > 0 {
        eventually("all files", async || whatsapp.media_requests() >= requests + 5).await;
    }
    ready
}

async fn settle() {
    tokio::time::sleep(SETTLE).await;
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A line of `/proc/PID/status`, in KiB.
fn status(pid: u32, name: &str) -> u64 {
    field(&std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap(), name)
}

/// KiB.
fn pss(pid: u32) -> u64 {
    field(&std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap(), "Pss:")
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// User and system.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / 100.0
}

/// Of the linked devices.
fn rows(server: &Server) -> u64 {
    let database = Connection::open(server.builder_again().folder().join("qrcast.sqlite")).unwrap();
    database
        .query_row("SELECT count(*) FROM device_row", [], |row| row.get::<_, i64>(0))
        .unwrap()
        .cast_unsigned()
}

fn disk(server: &Server) -> u64 {
    let folder = server.builder_again();
    let files = std::fs::read_dir(folder.folder()).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}
