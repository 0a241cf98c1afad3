//! The servers that are measured, each a process of its own on a core of its own, and how each is told to send events.
//!
//! All of them speak one small language on their standard streams: `examples/scripted.rs` says which.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use super::wire::Wire;

/// How long a server may take to end by itself.
const TO_END: Duration = Duration::from_secs(10);

/// The core of the servers; the viewers have the other.
const SERVERS: &str = "0";
const VIEWERS: &str = "1";

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// This server on a scripted WhatsApp.
    Ours,
    /// One write for each delivery.
    Floor,
    /// nginx with nchan.
    Nchan,
    /// express, ws and qrcode: the old service's stack.
    Express,
    /// socket.io as it comes.
    SocketIo,
}

/// Who is measured, and over which wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) wire: Wire,
}

/// What a server is to send.
#[derive(Clone, Copy)]
pub(crate) struct Script<'a> {
    /// The built `examples/scripted.rs`, where it is not the one beside this program.
    pub(crate) scripted: Option<&'a Path>,
    pub(crate) sessions: usize,
    /// What happens to this server's sessions: `qr` or `life`.
    pub(crate) events: &'a str,
    /// Over all sessions.
    pub(crate) per_second: f64,
    /// The bytes of an event on the wire, for all but this server.
    pub(crate) len: usize,
    /// Variables of this server's.
    pub(crate) variables: &'a [(&'a str, &'a str)],
}

/// One that runs. It ends when it is dropped.
pub(crate) struct Server {
    contender: Contender,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
    pub(crate) sessions: Vec<String>,
    /// The processes that do its work.
    pub(crate) pids: Vec<u32>,
}

impl Contender {
    /// These servers over these wires, as far as each speaks them.
    pub(crate) fn all(kinds: &[Kind], wires: &[Wire]) -> Vec<Self> {
        let mut all = Vec::new();
        for kind in kinds.iter().copied() {
            match kind {
                Kind::Ours | Kind::Floor | Kind::Nchan => {
                    all.extend(wires.iter().map(|wire| Self { kind, wire: *wire }));
                }
                Kind::Express if wires.contains(&Wire::WebSocket) => {
                    all.push(Self { kind, wire: Wire::WebSocket });
                }
                Kind::SocketIo if wires.contains(&Wire::WebSocket) => {
                    all.push(Self { kind, wire: Wire::SocketIo });
                }
                Kind::Express | Kind::SocketIo => {}
            }
        }
        all
    }

    /// Who it is, in a table.
    pub(crate) fn name(self) -> &'static str {
        match self.kind {
            Kind::Ours => "**qrcast**",
            Kind::Floor => "floor",
            Kind::Nchan => "nchan",
            Kind::Express => "express + ws",
            Kind::SocketIo => "socket.io",
        }
    }

    /// The floor that it is compared with.
    pub(crate) fn floor(self) -> Self {
        let wire = if self.wire == Wire::Sse { Wire::Sse } else { Wire::WebSocket };
        Self { kind: Kind::Floor, wire }
    }

    /// Starts it, and waits until it is ready.
    pub(crate) fn start(self, script: &Script) -> anyhow::Result<Server> {
        let Script { sessions, events, per_second, len, .. } = script;
        let mut arguments = vec![format!("--sessions={sessions}"), format!("--per-second={per_second}")];
        let program = match self.kind {
            Kind::Ours => {
                arguments.extend([format!("--events={events}"), "--wait".to_owned()]);
                script
                    .scripted
                    .map_or_else(|| program("examples/scripted"), |program| Ok(program.to_owned()))?
            }
            Kind::Floor => {
                let wire = if self.wire == Wire::Sse { "sse" } else { "websocket" };
                arguments.splice(0..0, ["floor".to_owned(), wire.to_owned()]);
                std::env::current_exe()?
            }
            Kind::Nchan => {
                arguments.insert(0, "nchan".to_owned());
                std::env::current_exe()?
            }
            Kind::Express | Kind::SocketIo => {
                let file = if self.kind == Kind::Express { "express.js" } else { "socketio.js" };
                arguments.insert(0, peers()?.join(file).display().to_string());
                PathBuf::from("node")
            }
        };
        if self.kind != Kind::Ours {
            arguments.push(format!("--len={len}"));
        }
        Server::start(self, &program, &arguments, script.variables)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wire = if self.wire == Wire::Sse { "SSE" } else { "WebSocket" };
        write!(f, "{}, {wire}", self.name())
    }
}

impl Server {
    fn start(
        contender: Contender,
        program: &Path,
        arguments: &[String],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut command = pinned(program);
        command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let pids = vec![child.id()];
        let mut server = Self { contender, child, input, output, address, sessions: Vec::new(), pids };
        let mut pids = Vec::new();
        loop {
            let line = server.hear()?;
            match line.split_once(' ') {
                Some(("listening", address)) => server.address = address.parse()?,
                Some(("pid", pid)) => pids.push(pid.parse()?),
                Some(("session", id)) => server.sessions.push(id.to_owned()),
                None if line == "ready" => break,
                _ => bail!("{contender} says {line:?}"),
            }
        }
        if !pids.is_empty() {
            server.pids = pids;
        }
        Ok(server)
    }

    /// Where each of so many viewers has its stream: they are spread over the sessions.
    pub(crate) fn paths(&self, viewers: usize) -> Vec<String> {
        let Contender { kind, wire } = self.contender;
        let path = |id: &String| match kind {
            Kind::Ours if wire == Wire::Sse => format!("/api/sessions/{id}/events"),
            Kind::Ours => format!("/api/sessions/{id}/ws"),
            Kind::Nchan => format!("/sub/{id}"),
            Kind::Floor | Kind::Express => format!("/{id}"),
            Kind::SocketIo => format!("/socket.io/?EIO=4&transport=websocket&session={id}"),
        };
        self.sessions.iter().cycle().take(viewers).map(path).collect()
    }

    /// Has it send so many events, over all sessions in turn.
    pub(crate) fn go(&mut self, count: u64) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("it was ended")?;
        Ok(writeln!(input, "go {count}")?)
    }

    /// Waits until it has sent them.
    pub(crate) fn done(&mut self) -> anyhow::Result<()> {
        let line = self.hear()?;
        if line.starts_with("done ") { Ok(()) } else { bail!("{} says {line:?}", self.contender) }
    }

    fn hear(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("{} has ended", self.contender);
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

fn has_cores() -> bool {
    Path::new("/sys/devices/system/cpu/cpu1").exists()
}

/// Where `scripts/bench` has put the peers that run on Node, with their packages.
pub(crate) fn peers() -> anyhow::Result<PathBuf> {
    let me = std::env::current_exe()?;
    let peers = me.ancestors().nth(3).context("no target folder")?.join("peers");
    anyhow::ensure!(peers.exists(), "{} is missing: scripts/bench makes it", peers.display());
    Ok(peers)
}

/// Starts a program on the servers' core.
pub(crate) fn pinned(program: &Path) -> Command {
    if !has_cores() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", SERVERS]).arg(program);
    command
}

/// A built program. Cargo puts benchmarks in `deps`, and the rest beside it.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let me = std::env::current_exe()?;
    let program = me.ancestors().nth(2).context("no target folder")?.join(name);
    anyhow::ensure!(program.exists(), "{} is missing: scripts/bench builds it", program.display());
    Ok(program)
}
