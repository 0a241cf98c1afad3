//! What a stream costs this server, beside others and beside what the kernel alone costs. `scripts/bench` runs it;
//! README.md in `benches` says what is measured and how.

#![expect(clippy::print_stdout, reason = "its result")]

mod floor;
mod proc;
mod servers;
mod viewers;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use self::servers::{Script, Server};
use self::viewers::Viewers;
use self::wire::Wire;

/// Measures what a stream costs.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// The built `examples/scripted.rs`, where it is not the one beside this program.
    #[arg(long, global = true)]
    scripted: Option<PathBuf>,
    /// `cargo bench` says so.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum What {
    /// Memory of an idle stream, PSS.
    Idle(Idle),
    /// Processor seconds for a million deliveries, as a multiple of the floor's.
    Deliver(Deliver),
    /// Is the floor, for `deliver`.
    #[command(hide = true)]
    Floor {
        wire: Transport,
        len: usize,
        #[arg(long)]
        per_second: f64,
    },
}

#[derive(Args)]
struct Idle {
    #[arg(long, default_value_t = 5000)]
    streams: usize,
    #[arg(long, default_value_t = 100)]
    sessions: usize,
    /// Seconds without anything, before memory is read.
    #[arg(long, default_value_t = 30)]
    settle: u64,
    #[arg(long, value_enum, value_delimiter = ',', default_value = "websocket,sse")]
    wires: Vec<Transport>,
}

#[derive(Args)]
struct Deliver {
    #[arg(long, default_value_t = 3000)]
    viewers: usize,
    #[arg(long, default_value_t = 1)]
    sessions: usize,
    /// `qr` or `life`
    #[arg(long, default_value = "qr")]
    events: String,
    /// Over all sessions.
    #[arg(long, default_value_t = 5.0)]
    per_second: f64,
    /// Events in a round, over all sessions.
    #[arg(long, default_value_t = 50)]
    count: u64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[arg(long, value_enum, value_delimiter = ',', default_value = "websocket,sse")]
    wires: Vec<Transport>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Transport {
    Websocket,
    Sse,
}

impl Transport {
    fn wire(self) -> Wire {
        match self {
            Self::Websocket => Wire::WebSocket,
            Self::Sse => Wire::Sse,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let Arguments { what, scripted, .. } = Arguments::parse();
    let scripted = scripted.as_deref();
    if let What::Floor { wire, len, per_second } = what {
        return floor::run(wire.wire() != Wire::Sse, len, per_second);
    }
    rlimit::increase_nofile_limit(u64::MAX)?;
    servers::take_core()?;
    match what {
        What::Idle(idle) => {
            for wire in &idle.wires {
                idle.measure(wire.wire(), scripted)?;
            }
        }
        What::Deliver(deliver) => deliver.measure(scripted)?,
        What::Floor { .. } => {}
    }
    Ok(())
}

impl Idle {
    fn measure(&self, wire: Wire, scripted: Option<&std::path::Path>) -> anyhow::Result<()> {
        let script = Script { sessions: self.sessions, events: "qr", per_second: 1.0 };
        let server = Server::ours(scripted, script)?;
        let settle = Duration::from_secs(self.settle);
        std::thread::sleep(settle);
        let (before, sockets) = (proc::pss(&server.pids), proc::sockets());
        let paths: Vec<_> = (0..self.streams).map(|number| server.path(wire, number)).collect();
        let mut viewers = Viewers::open(server.address, &[wire], paths.iter().map(String::as_str))?;
        viewers.idle(settle)?;
        let (after, held) = (proc::pss(&server.pids), proc::sockets());
        let each = (after - before) / self.streams as f64 / 1024.0;
        say(&format!(
            "idle {wire:?}: {each:.2} KiB PSS a stream ({} streams on {} sessions, {:.1} MB before, {:.1} MB after; \
             sockets {:.1} MB more)",
            self.streams,
            self.sessions,
            before / 1e6,
            after / 1e6,
            (held - sockets) / 1e6
        ));
        Ok(())
    }
}

impl Deliver {
    fn measure(&self, scripted: Option<&std::path::Path>) -> anyhow::Result<()> {
        let Self { sessions, per_second, .. } = *self;
        let script = Script { sessions, events: &self.events, per_second };
        let mut ours = Server::ours(scripted, script)?;
        for wire in self.wires.iter().map(|wire| wire.wire()) {
            // A short round tells how long a frame is, and warms up.
            let warm = self.round(&mut ours, wire, 2 * sessions as u64)?;
            let mut floor = Server::floor(wire, warm.frame, per_second)?;
            self.round(&mut floor, wire, 2)?;
            let (mut costs, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..self.rounds {
                let cost = self.round(&mut ours, wire, self.count)?.cost;
                let least = self.round(&mut floor, wire, self.count)?.cost;
                costs.push(cost);
                floors.push(least);
                ratios.push(cost / least);
            }
            say(&format!(
                "{} {wire:?}: {} CPU s/M, floor {}, ratio {} ({} viewers, {} B frame)",
                self.events,
                spread(&mut costs),
                spread(&mut floors),
                spread(&mut ratios),
                self.viewers,
                warm.frame
            ));
        }
        Ok(())
    }

    fn round(&self, server: &mut Server, wire: Wire, count: u64) -> anyhow::Result<Round> {
        let paths: Vec<_> = (0..self.viewers).map(|number| server.path(wire, number)).collect();
        let mut viewers = Viewers::open(server.address, &[wire], paths.iter().map(String::as_str))?;
        viewers.forget();
        let before = proc::cpu(&server.pids);
        server.go(count)?;
        let seen = viewers.expect(count / server.sessions.len() as u64)?;
        let took = proc::cpu(&server.pids) - before;
        server.done()?;
        let frame = (seen.bytes as f64 / seen.events as f64).round() as usize;
        Ok(Round { cost: took / seen.events as f64 * 1e6, frame })
    }
}

/// What one round showed.
struct Round {
    /// Processor seconds for a million deliveries.
    cost: f64,
    /// Bytes of a frame on the wire.
    frame: usize,
}

/// The median, and between what all of them lie.
fn spread(figures: &mut [f64]) -> String {
    figures.sort_by(f64::total_cmp);
    let (first, last) = (figures[0], figures[figures.len() - 1]);
    format!("{:.2} ({first:.2} to {last:.2})", figures[figures.len() / 2])
}

fn say(line: &str) {
    println!("{line}");
}
