//! The servers that are measured, each a process of its own on a core of its own, and how each is told to send events.
//!
//! All of them speak one small language on their standard streams: `examples/scripted.rs` says which.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::wire::Wire;

/// How long a server may take to end by itself.
const TO_END: Duration = Duration::from_secs(10);

/// The core of the servers; the viewers have the other.
const SERVERS: &str = "0";
const VIEWERS: &str = "1";

/// Where each server has its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Floor,
}

/// One that runs. It ends when it is dropped.
pub(crate) struct Server {
    kind: Kind,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
    pub(crate) sessions: Vec<String>,
    /// The processes that do its work.
    pub(crate) pids: Vec<u32>,
}

/// What a server is to send.
#[derive(Clone, Copy)]
pub(crate) struct Script<'a> {
    pub(crate) sessions: usize,
    pub(crate) events: &'a str,
    /// Over all sessions.
    pub(crate) per_second: f64,
}

impl Server {
    /// This server, on a scripted WhatsApp.
    pub(crate) fn ours(program: Option<&Path>, script: Script) -> anyhow::Result<Self> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => scripted()?,
        };
        let Script { sessions, events, per_second } = script;
        let arguments = [
            format!("--sessions={sessions}"),
            format!("--events={events}"),
            format!("--per-second={per_second}"),
            "--wait".to_owned(),
        ];
        Self::start(Kind::Ours, &program, &arguments)
    }

    /// The floor, with frames as long as those that it is compared with.
    pub(crate) fn floor(wire: Wire, len: usize, per_second: f64) -> anyhow::Result<Self> {
        let wire = if wire == Wire::Sse { "sse" } else { "websocket" };
        let arguments =
            ["floor".to_owned(), wire.to_owned(), len.to_string(), format!("--per-second={per_second}")];
        Self::start(Kind::Floor, &std::env::current_exe()?, &arguments)
    }

    fn start(kind: Kind, program: &Path, arguments: &[String]) -> anyhow::Result<Self> {
        let mut command = if has_cores() {
            let mut command = Command::new("taskset");
            command.args(["-c", SERVERS]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let pids = vec![child.id()];
        let mut server = Self { kind, child, input, output, address, sessions: Vec::new(), pids };
        loop {
            let line = server.hear()?;
            match line.split_once(' ') {
                Some(("listening", address)) => server.address = address.parse()?,
                Some(("session", id)) => server.sessions.push(id.to_owned()),
                None if line == "ready" => return Ok(server),
                _ => bail!("{kind:?} says {line:?}"),
            }
        }
    }

    /// Where a session's stream is.
    pub(crate) fn path(&self, wire: Wire, session: usize) -> String {
        let id = &self.sessions[session % self.sessions.len()];
        match (self.kind, wire) {
            (Kind::Ours, Wire::Sse) => format!("/api/sessions/{id}/events"),
            (Kind::Ours, _) => format!("/api/sessions/{id}/ws"),
            (Kind::Floor, _) => "/".to_owned(),
        }
    }

    /// Has it send so many events.
    pub(crate) fn go(&mut self, count: u64) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("it was ended")?;
        Ok(writeln!(input, "go {count}")?)
    }

    /// Waits until it has sent them.
    pub(crate) fn done(&mut self) -> anyhow::Result<()> {
        let line = self.hear()?;
        if line.starts_with("done ") { Ok(()) } else { bail!("{:?} says {line:?}", self.kind) }
    }

    fn hear(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("{:?} has ended", self.kind);
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input.
        self.input = None;
        let until = Instant::now() + TO_END;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // It is gone either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes the viewers' core, where there is more than one.
pub(crate) fn take_core() -> anyhow::Result<()> {
    if has_cores() {
        let me = std::process::id().to_string();
        let taken = Command::new("taskset").args(["-pc", VIEWERS, &me]).stdout(Stdio::null()).status()?;
        anyhow::ensure!(taken.success(), "taskset cannot set this process's core");
    }
    Ok(())
}

/// Asked before this process has taken its own, and after.
fn has_cores() -> bool {
    Path::new("/sys/devices/system/cpu/cpu1").exists()
}

/// Cargo puts benchmarks in `deps`, and examples in `examples` beside it.
fn scripted() -> anyhow::Result<PathBuf> {
    let me = std::env::current_exe()?;
    let program = me.ancestors().nth(2).context("no target folder")?.join("examples/scripted");
    anyhow::ensure!(program.exists(), "{} is missing: scripts/bench builds it", program.display());
    Ok(program)
}
