//! The whole server as it is deployed, the built `qrcast`, as a process of its own against the simulator: what `linked` and
//! `messages` measure. Sessions are linked by phones of the simulator, which runs in this process, on the viewers' core.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use futures::StreamExt as _;
use serde_json::{Value, json};
use simulator::{Scan, Simulator};
use tempfile::TempDir;

use super::proc;
use super::servers::{pinned, program};

/// The longest wait for anything that must come.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many sessions are linked at the same time.
const AT_ONCE: usize = 4;

/// Where the server keeps what must last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    Sqlite,
    Redis,
}

impl Store {
    /// In a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Redis => "Redis",
        }
    }
}

/// A data folder, and the Redis that is used with it.
pub(crate) struct Place {
    program: PathBuf,
    whatsapp: String,
    folder: TempDir,
    redis: Option<(Child, String)>,
}

/// A server that runs. It is killed when it is dropped.
pub(crate) struct Real {
    child: Child,
    base: String,
    http: reqwest::Client,
    /// From its start to its first answer.
    pub(crate) answered: Duration,
    begun: Instant,
}

/// A linked session.
pub(crate) struct Linked {
    pub(crate) jid: String,
    /// From the scan to `ready`.
    pub(crate) took: Duration,
}

impl Place {
    /// An empty one.
    pub(crate) fn new(store: Store, whatsapp: &Simulator, server: Option<&Path>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let redis = match store {
            Store::Sqlite => None,
            Store::Redis => Some(redis(folder.path())?),
        };
        let program = server.map_or_else(|| program("qrcast"), |path| Ok(path.to_owned()))?;
        Ok(Self { program, whatsapp: whatsapp.url(), folder, redis })
    }

    /// Starts the server there, and waits for its first answer. The client's timers run in real time.
    pub(crate) async fn start(&self) -> anyhow::Result<Real> {
        let begun = Instant::now();
        let mut command = pinned(&self.program);
        command
            .envs([("PORT", "0"), ("LOG_FORMAT", "json"), ("RUST_LOG", "info,qrcast::link=warn")])
            .envs([
                ("MAX_SESSIONS", "100000"),
                ("RATE_LIMIT_DISABLED", "true"),
                ("WA_LOGINS_PER_SECOND", "1000"),
            ])
            .env("DATA_DIR", self.folder.path())
            .env("WHATSAPP_URL", &self.whatsapp)
            .stderr(Stdio::piped());
        if let Some((_, url)) = &self.redis {
            command.env("REDIS_URL", url);
        }
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let mut log = BufReader::new(child.stderr.take().context("no log")?).lines();
        let base = loop {
            let line = log.next().context("the server has ended")??;
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if entry["message"] == "listening" {
                break format!("http://{}", entry["address"].as_str().context("no address")?);
            }
        };
        // A pipe that nobody reads would stop the server; the thread ends with it.
        std::thread::spawn(move || log.for_each(drop));
        let http = reqwest::Client::new();
        let mut real = Real { child, base, http, answered: Duration::ZERO, begun };
        ensure!(real.http.get(format!("{}/livez", real.base)).send().await?.status().is_success());
        real.answered = begun.elapsed();
        // With Redis it answers before it has reached its store.
        while !real.http.get(format!("{}/readyz", real.base)).send().await?.status().is_success() {
            ensure!(begun.elapsed() < PATIENCE, "the server does not get ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(real)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((redis, _)) = &mut self.redis {
            let _ = redis.kill();
            let _ = redis.wait();
        }
    }
}

/// Starts a Redis on a free port, as docs/deploy.md has it: with an append-only file.
fn redis(folder: &Path) -> anyhow::Result<(Child, String)> {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--port", &port.to_string()]);
    let child = command.arg("--dir").arg(folder).stdout(Stdio::null()).spawn()?;
    let until = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(Instant::now() < until, "redis-server does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok((child, format!("redis://127.0.0.1:{port}")))
}

impl Real {
    /// Links sessions of so many users, each with a viewer until it is `ready`.
    pub(crate) async fn link(
        &self,
        whatsapp: &Simulator,
        users: std::ops::Range<usize>,
    ) -> anyhow::Result<Vec<Linked>> {
        let links = futures::stream::iter(users).map(|user| self.link_one(whatsapp, user));
        links.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
    }

    async fn link_one(&self, whatsapp: &Simulator, user: usize) -> anyhow::Result<Linked> {
        let path = format!("{}/api/init-session", self.base);
        let body = json!({ "userId": format!("user{user}") });
        let answer: Value = self.http.post(path).json(&body).send().await?.error_for_status()?.json().await?;
        let id = answer["sessionId"].as_str().context("no session")?;
        let stream = self.http.get(format!("{}/api/sessions/{id}/events", self.base)).send().await?;
        let mut events = Events { stream, read: Vec::new() };
        let qr = events.until("qr").await?;
        let qr = qr["qrString"].as_str().context("no QR")?.to_owned();
        let begun = Instant::now();
        let jid = whatsapp.scan(Scan { qr, ..Scan::default() }).await?;
        events.until("ready").await?;
        Ok(Linked { jid, took: begun.elapsed() })
    }

    /// Waits until so many sessions are connected; how long that is after the start.
    pub(crate) async fn until_connected(&self, wanted: usize) -> anyhow::Result<Duration> {
        while self.begun.elapsed() < PATIENCE {
            let health: Value = self
                .http
                .get(format!("{}/api/sessions?status=connected&limit=200", self.base))
                .send()
                .await?
                .json()
                .await?;
            let mut connected = health["sessions"].as_array().map_or(0, Vec::len);
            let mut cursor = health["nextCursor"].as_str().map(str::to_owned);
            while let Some(next) = cursor {
                let path = format!("{}/api/sessions?status=connected&limit=200&cursor={next}", self.base);
                let page: Value = self.http.get(path).send().await?.json().await?;
                connected += page["sessions"].as_array().map_or(0, Vec::len);
                cursor = page["nextCursor"].as_str().map(str::to_owned);
            }
            if connected >= wanted {
                return Ok(self.begun.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("not all sessions came back")
    }

    /// Processor seconds so far.
    pub(crate) fn cpu(&self) -> f64 {
        proc::cpu(&[self.child.id()])
    }

    /// PSS, bytes.
    pub(crate) fn memory(&self) -> f64 {
        proc::pss(&[self.child.id()])
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A stream, over SSE.
struct Events {
    stream: reqwest::Response,
    read: Vec<u8>,
}

impl Events {
    /// The data of the next event of this kind.
    async fn until(&mut self, kind: &str) -> anyhow::Result<Value> {
        loop {
            while let Some(end) = memchr::memmem::find(&self.read, b"\n\n") {
                let block: Vec<u8> = self.read.drain(..end + 2).collect();
                let block = String::from_utf8(block)?;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
                if field("event: ") == Some(kind) {
                    return Ok(serde_json::from_str(field("data: ").context("no data")?)?);
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.stream.chunk()).await;
            let chunk = chunk.with_context(|| format!("no {kind}"))??.context("the stream has ended")?;
            self.read.extend_from_slice(&chunk);
        }
    }
}
