//! The whole server on a scripted WhatsApp: any number of sessions, and events at a rate of your choice. For measuring
//! what viewers cost, and for tests with more sessions than real clients fit; `benches/load` drives it.
//!
//! `cargo run --release --example scripted --features simulator -- --sessions 3 --per-second 5`
//!
//! It prints `listening ADDRESS`, `session ID` for each session, then `ready`. With `--wait` it reads lines on its
//! standard input: `go COUNT` sends so many events and answers `done COUNT`; the end of the input ends the server.
//! Variables are those of the server; some have other defaults here, so that no limit stands in the way.

use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Parser, ValueEnum};
use qrcast::config::Config;
use qrcast::id::SessionId;
use qrcast::shutdown::{self, Shutdown};
use qrcast::whatsapp::script::Script;
use qrcast::{server, telemetry};
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// The server on a scripted WhatsApp.
#[derive(Parser)]
struct Arguments {
    /// Sessions, made at the start.
    #[arg(long, default_value_t = 1)]
    sessions: usize,
    /// What happens to them, in turn.
    #[arg(long, value_enum, default_value = "qr")]
    events: Events,
    /// Events a second over all sessions.
    #[arg(long, default_value_t = 1.0)]
    per_second: f64,
    /// Takes `--per-second` for each session.
    #[arg(long)]
    each: bool,
    /// Sends nothing until a line on the standard input says so.
    #[arg(long)]
    wait: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Events {
    /// A QR with a new random string, its picture drawn.
    Qr,
    /// A linked device that loses its connection, and has it again: events of about 200 bytes.
    Life,
}

/// What its users have: the allocator is a part of what is measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long a QR can be scanned: longer than a measurement.
const SCANNABLE: Duration = Duration::from_secs(3600);

/// How many connections may wait to be accepted: thousands of viewers come at once.
const WAITING: u32 = 4096;

/// As high as a limit can be set.
const NO_LIMIT: &str = "100000";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let config = config(&folder.path().display().to_string())?;
    let _telemetry = telemetry::start(&config.log_filter, config.log_format, config.collector.as_deref())?;
    telemetry::metrics::start()?;
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(config.address())?;
    let listener = socket.listen(WAITING)?;
    let address = listener.local_addr()?;
    say(&format!("listening {address}"));
    let (script, stop) = (Script::default(), Shutdown::new());
    let (on_signal, playing) = (stop.clone(), stop.clone());
    stop.spawn(async move {
        if let Err(error) = shutdown::at_signals(&on_signal).await {
            tracing::error!(%error, "signals cannot be heard");
        }
    });
    let serving = serve(config, listener, stop.clone(), script.clone());
    stop.spawn_until_begun(async move {
        if let Err(error) = play(&arguments, &format!("http://{address}"), script).await {
            tracing::error!(%error, "the script ends");
        }
        playing.begin();
    });
    serving.await
}

async fn serve(config: Config, listener: TcpListener, stop: Shutdown, script: Script) -> anyhow::Result<()> {
    Ok(server::run_with(config, listener, stop, script).await?)
}

fn config(data_dir: &str) -> anyhow::Result<Config> {
    #[expect(clippy::disallowed_methods, reason = "an example reads its own environment")]
    let variable = |name: &str| std::env::var(name).ok();
    let default = |name: &str| match name {
        "DATA_DIR" => Some(data_dir.to_owned()),
        "MAX_SESSIONS" | "MAX_SESSIONS_PER_USER" | "MAX_STREAMS" | "MAX_STREAMS_PER_IP" => {
            Some(NO_LIMIT.to_owned())
        }
        "RATE_LIMIT_DISABLED" => Some("true".to_owned()),
        "PORT" | "READY_DELAY_MS" | "DRAIN_SECONDS" => Some("0".to_owned()),
        "RUST_LOG" => Some("error".to_owned()),
        _ => None,
    };
    Ok(Config::read(|name| variable(name).or_else(|| default(name)))?)
}

/// Makes the sessions, and lets happen to them what was asked for.
async fn play(arguments: &Arguments, base: &str, script: Script) -> anyhow::Result<()> {
    let mut stage =
        Stage { script, events: arguments.events, sessions: Vec::new(), cut_off: Vec::new(), next: 0 };
    let http = reqwest::Client::new();
    // On Redis it is not ready at once.
    while http.get(format!("{base}/readyz")).send().await?.error_for_status().is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for number in 0..arguments.sessions {
        let id = init(&http, base, number).await?;
        stage.script.client(&id, 1).await;
        match arguments.events {
            Events::Qr => stage.script.shows_qr(&id, qr_string(), SCANNABLE),
            Events::Life => stage.script.links(&id),
        }
        say(&format!("session {id}"));
        stage.sessions.push(id);
    }
    stage.cut_off = vec![false; arguments.sessions];
    let each = if arguments.each { arguments.sessions as f64 } else { 1.0 };
    let pause = Duration::from_secs_f64(1.0 / (arguments.per_second * each));
    say("ready");
    if !arguments.wait {
        stage.send(u64::MAX, pause).await;
    }
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let count = line.strip_prefix("go ").with_context(|| format!("{line:?} is not `go COUNT`"))?;
        stage.send(count.trim().parse()?, pause).await;
        say(&format!("done {count}"));
    }
    Ok(())
}

/// What stands on the standard input, read by a thread of its own.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines().map_while(Result::ok);
        // It ends with whoever reads it, or when the input does.
        lines.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
    });
    receiver
}

async fn init(http: &reqwest::Client, base: &str, number: usize) -> anyhow::Result<SessionId> {
    let request =
        http.post(format!("{base}/api/init-session")).json(&json!({ "userId": format!("user{number}") }));
    let answer: Value = request.send().await?.error_for_status()?.json().await?;
    Ok(answer["sessionId"].as_str().context("no sessionId")?.parse()?)
}

struct Stage {
    script: Script,
    events: Events,
    sessions: Vec<SessionId>,
    /// Which of them have lost their connection.
    cut_off: Vec<bool>,
    /// Whose turn it is.
    next: usize,
}

impl Stage {
    async fn send(&mut self, count: u64, pause: Duration) {
        let mut ticks = tokio::time::interval(pause);
        // A rate that this machine cannot keep is less than that, not a burst.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..count {
            ticks.tick().await;
            self.happens();
        }
    }

    fn happens(&mut self) {
        let at = self.next;
        self.next = (at + 1) % self.sessions.len();
        let session = &self.sessions[at];
        match self.events {
            Events::Qr => self.script.shows_qr(session, qr_string(), SCANNABLE),
            Events::Life if self.cut_off[at] => self.script.connects(session),
            Events::Life => self.script.loses(session),
        }
        self.cut_off[at] = !self.cut_off[at];
    }
}

/// As long as the simulator's: a reference, three keys of 32 bytes and the platform.
fn qr_string() -> String {
    let reference = STANDARD.encode(rand::rng().random::<[u8; 48]>());
    let [noise, identity, secret] = rand::rng().random::<[[u8; 32]; 3]>().map(|key| STANDARD.encode(key));
    format!("2@{reference},{noise},{identity},{secret},1")
}

#[expect(clippy::print_stdout, reason = "an example speaks to the person or the program that runs it")]
fn say(line: &str) {
    println!("{line}");
}
