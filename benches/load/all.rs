//! Every measurement in one run, and the page that they make: docs/benchmarks.md. `scripts/bench` asks for it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::deliver::Deliver;
use super::idle::Idle;
use super::linked::Linked;
use super::messages::Messages;
use super::real::Store;
use super::report::Section;
use super::servers::{Contender, Kind, Script, peers};
use super::wire::Wire;
use super::{deaf, draw, poll, returns, say};

/// How much is measured.
struct Size {
    rounds: usize,
    settle: Duration,
    /// Idle streams beside the peers, and alone.
    idle: [usize; 2],
    sessions: usize,
    /// Sessions with one viewer each.
    spread: usize,
    viewers: [usize; 2],
    /// Events of a round.
    count: u64,
    /// Viewers of which some never read.
    deaf: usize,
    returning: usize,
    poll: Duration,
    pictures: usize,
    /// Linked sessions: memory is the difference between the two.
    linked: [usize; 2],
    /// Sessions that receive messages, and how many each.
    messages: [usize; 2],
}

const WHOLE: Size = Size {
    rounds: 5,
    settle: Duration::from_secs(30),
    idle: [5000, 15_000],
    sessions: 5000,
    spread: 2000,
    viewers: [3000, 1000],
    count: 50,
    deaf: 500,
    returning: 5000,
    poll: Duration::from_secs(5),
    pictures: 300,
    linked: [100, 300],
    messages: [100, 30],
};

const QUICK: Size = Size {
    rounds: 3,
    settle: Duration::from_secs(3),
    idle: [1000, 3000],
    sessions: 500,
    spread: 200,
    viewers: [1000, 500],
    count: 10,
    deaf: 200,
    returning: 1000,
    poll: Duration::from_secs(1),
    pictures: 50,
    linked: [20, 60],
    messages: [20, 5],
};

const EVERYBODY: &[Kind] = &[Kind::Floor, Kind::Ours, Kind::Nchan, Kind::Express, Kind::SocketIo];
const STORES: &[Store] = &[Store::Sqlite, Store::Redis];
const WIRES: &[Wire] = &[Wire::WebSocket, Wire::Sse];

/// Measures, prints each table as soon as it is there, and writes the page.
pub(crate) fn run(
    quick: bool,
    scripted: Option<&Path>,
    server: Option<&Path>,
    page: Option<&Path>,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    let size = if quick { QUICK } else { WHOLE };
    let mut text = String::new();
    // The page is written anew with each table: a run that is cut off has said something.
    let mut add = |section: Section| -> anyhow::Result<()> {
        say(&section.to_string());
        writeln!(text, "{section}")?;
        let minutes = begin.elapsed().as_secs().div_ceil(60);
        page.map_or(Ok(()), |page| {
            Ok(std::fs::write(page, format!("{}\n{}\n", head(quick, minutes), text.trim_end()))?)
        })
    };
    let script = Script { scripted, sessions: 100, events: "qr", per_second: 1.0, len: 200, variables: &[] };
    let everybody = &Contender::all(EVERYBODY, WIRES);
    let us = &Contender::all(&[Kind::Floor, Kind::Ours], WIRES);
    let [beside, alone] = size.idle;
    let idle = Idle { contenders: everybody, script, streams: beside, settle: size.settle };
    add(idle.measure()?)?;
    let sessions = size.sessions;
    let ours = &Contender::all(&[Kind::Ours], &[Wire::Sse]);
    let many = Script { sessions, ..script };
    add(Idle { contenders: ours, script: many, streams: alone, ..idle }.measure_both()?)?;
    let [many_viewers, viewers] = size.viewers;
    let script = Script { sessions: 1, ..script };
    let (slow, fast) = (Script { per_second: 5.0, ..script }, Script { per_second: 20.0, ..script });
    let Size { rounds, count, .. } = size;
    let qr = Deliver { contenders: everybody, script: slow, viewers: many_viewers, count, rounds };
    add(qr.measure()?)?;
    let life = Script { events: "life", ..fast };
    add(Deliver { script: life, viewers, count: 2 * count, ..qr }.measure()?)?;
    add(Deliver { contenders: us, script: fast, viewers, count: 2 * count, ..qr }.measure()?)?;
    let each = size.spread;
    let per_second = each as f64 / 20.0;
    let spread = Script { sessions: each, per_second, ..script };
    add(Deliver { contenders: us, script: spread, viewers: each, count: each as u64, rounds: 1 }.measure()?)?;
    add(deaf::measure(&script, size.deaf)?)?;
    add(returns::measure(&script, size.returning, rounds)?)?;
    add(poll::measure(&[Kind::Ours, Kind::Express], &script, size.poll, rounds)?)?;
    add(draw::measure(size.pictures, rounds)?)?;
    real(&size, server, &mut add)
}

/// With the real client, which takes longer: three rounds have to do.
fn real(
    size: &Size,
    server: Option<&Path>,
    add: &mut dyn FnMut(Section) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Size { linked: sessions, settle, messages: [receiving, each], .. } = *size;
    let (stores, rounds) = (STORES, 3);
    for contacts in [0, 2000] {
        add(Linked { stores, sessions, contacts, settle, rounds, server }.measure()?)?;
    }
    add(Messages { stores, sessions: receiving, each, settle, rounds, server }.measure()?)
}

fn head(quick: bool, minutes: u64) -> String {
    let command = if quick { "scripts/bench --quick" } else { "scripts/bench" };
    format!(
        "# Benchmarks\n\n\
         Written by `{command}`, which anyone can run again; [benches/README.md](../benches/README.md) says what is measured, and how.\n\
         All servers ran on one core and all viewers on another, took turns in each round, and spoke over loopback. Each viewer\n\
         checked that it got every event, once and in order. The *floor* does one `write(2)` for each delivery, and nothing else.\n\n\
         | | |\n| --- | --- |\n\
         | machine | {} |\n| kernel | {} |\n| qrcast | {} |\n| built with | {} |\n| peers | {} |\n| run | `{command}`, {minutes} min |\n",
        machine(),
        first_line("uname", &["-sr"]),
        first_line("git", &["describe", "--always", "--dirty", "--exclude=*"]),
        first_line("rustc", &["--version"]),
        versions(),
    )
}

fn machine() -> String {
    let field = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split(':').nth(1).unwrap_or_default().trim().to_owned()
    };
    let cores = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = cores.lines().filter(|line| line.starts_with("processor")).count();
    let model = field("/proc/cpuinfo", "model name");
    let memory = field("/proc/meminfo", "MemTotal");
    let memory = memory.trim_end_matches(" kB").parse().unwrap_or(0.0) / 1048576.0;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').nth(2).unwrap_or_default();
    format!("{cores} × {model}, {memory:.0} GiB; load average at the end {load}")
}

fn versions() -> String {
    let lock = peers()
        .and_then(|peers| Ok(std::fs::read_to_string(peers.join("package-lock.json"))?))
        .unwrap_or_default();
    let mut versions =
        vec![first_line("nginx", &["-v"]), format!("Node {}", first_line("node", &["--version"]))];
    for name in ["express", "qrcode", "socket.io", "ws"] {
        let entry = lock.split(&format!("\"node_modules/{name}\": {{")).nth(1).unwrap_or_default();
        versions.push(format!("{name} {}", entry.split('"').nth(3).unwrap_or_default()));
    }
    versions.push(format!(
        "nchan {}",
        first_line("dpkg-query", &["-W", "-f", "${Version}", "libnginx-mod-nchan"])
    ));
    versions.join(", ")
}

/// Of what a program says; nothing if it is not there.
fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return String::new() };
    // nginx says its version on the other stream.
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
}
