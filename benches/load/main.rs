//! What a stream costs this server, beside others and beside what the kernel alone costs. `scripts/bench` runs it;
//! README.md in `benches` says what is measured and how.

#![expect(clippy::print_stdout, reason = "its result")]

mod all;
mod deaf;
mod deliver;
mod draw;
mod floor;
mod idle;
mod linked;
mod messages;
mod nchan;
mod poll;
mod proc;
mod real;
mod report;
mod returns;
mod servers;
mod viewers;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use self::deliver::Deliver;
use self::idle::Idle;
use self::linked::Linked;
use self::messages::Messages;
use self::real::Store;
use self::servers::{Contender, Kind, Script};
use self::wire::Wire;

/// Measures what a stream costs.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// The built `examples/scripted.rs`, where it is not the one beside this program.
    #[arg(long, global = true)]
    scripted: Option<PathBuf>,
    /// The built server, where it is not the one beside this program.
    #[arg(long, global = true)]
    server: Option<PathBuf>,
    /// Who is measured.
    #[arg(long, global = true, value_enum, value_delimiter = ',', default_value = "ours,floor")]
    who: Vec<Kind>,
    /// Over which wires.
    #[arg(long, global = true, value_enum, value_delimiter = ',', default_value = "websocket,sse")]
    wires: Vec<Transport>,
    /// What happens to this server's sessions: `qr` or `life`.
    #[arg(long, global = true, default_value = "qr")]
    events: String,
    /// `cargo bench` says so.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

/// What is measured with the real client: on which stores, and how often.
#[derive(Args)]
struct On {
    /// Seconds without anything, before memory is read.
    #[arg(long, default_value_t = 30)]
    settle: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, value_enum, value_delimiter = ',', default_value = "sqlite,redis")]
    stores: Vec<Store>,
}

#[derive(Subcommand)]
enum What {
    /// All that docs/benchmarks.md has.
    All {
        /// Few viewers, short rounds.
        #[arg(long)]
        quick: bool,
        /// The page to write.
        #[arg(long)]
        page: Option<PathBuf>,
    },
    /// Memory of an idle stream, PSS.
    Idle {
        #[arg(long, default_value_t = 5000)]
        streams: usize,
        #[arg(long, default_value_t = 100)]
        sessions: usize,
        /// Seconds without anything, before memory is read.
        #[arg(long, default_value_t = 30)]
        settle: u64,
        /// Half SSE, half WebSocket, in one process.
        #[arg(long)]
        both: bool,
    },
    /// Processor seconds for a million deliveries, and as a multiple of the floor's.
    Deliver {
        #[arg(long, default_value_t = 3000)]
        viewers: usize,
        #[arg(long, default_value_t = 1)]
        sessions: usize,
        /// Over all sessions.
        #[arg(long, default_value_t = 5.0)]
        per_second: f64,
        /// Events in a round, over all sessions.
        #[arg(long, default_value_t = 50)]
        count: u64,
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Answers for each second of the server's processor.
    Poll {
        /// Seconds of a round.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Viewers that come back at once, with cursors.
    Returns {
        #[arg(long, default_value_t = 5000)]
        viewers: usize,
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Viewers that never read.
    Deaf {
        #[arg(long, default_value_t = 500)]
        viewers: usize,
    },
    /// The picture of a QR.
    Draw {
        #[arg(long, default_value_t = 300)]
        count: usize,
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Sessions that are linked with the real client: memory, processor time, restart.
    Linked {
        /// What a session takes is the difference between so many and so many.
        #[arg(long, default_value_t = 100)]
        few: usize,
        #[arg(long, default_value_t = 300)]
        many: usize,
        /// Of each account.
        #[arg(long, default_value_t = 0)]
        contacts: usize,
        #[command(flatten)]
        on: On,
    },
    /// Sessions that receive messages.
    Messages {
        #[arg(long, default_value_t = 100)]
        sessions: usize,
        /// Of each session in a round, one a second.
        #[arg(long, default_value_t = 30)]
        each: usize,
        #[command(flatten)]
        on: On,
    },
    /// Is the floor.
    #[command(hide = true)]
    Floor {
        wire: Transport,
        #[command(flatten)]
        played: Played,
    },
    /// Is nchan and its publisher.
    #[command(hide = true)]
    Nchan {
        #[command(flatten)]
        played: Played,
    },
}

#[derive(Args)]
struct Played {
    #[arg(long)]
    sessions: usize,
    #[arg(long)]
    per_second: f64,
    #[arg(long)]
    len: usize,
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
    let arguments = Arguments::parse();
    rlimit::increase_nofile_limit(u64::MAX)?;
    match &arguments.what {
        What::Floor { wire, played } => return floor::run(wire.wire(), played),
        What::Nchan { played } => return nchan::run(played),
        _ => servers::take_core()?,
    }
    let wires: Vec<_> = arguments.wires.iter().map(|wire| wire.wire()).collect();
    let contenders = &Contender::all(&arguments.who, &wires);
    let script = Script {
        scripted: arguments.scripted.as_deref(),
        sessions: 1,
        events: &arguments.events,
        per_second: 1.0,
        len: 200,
        variables: &[],
    };
    let section = match arguments.what {
        What::Idle { streams, sessions, settle, both } => {
            let settle = Duration::from_secs(settle);
            let idle = Idle { contenders, script: Script { sessions, ..script }, streams, settle };
            if both { idle.measure_both() } else { idle.measure() }
        }
        What::Deliver { viewers, sessions, per_second, count, rounds } => {
            let script = Script { sessions, per_second, ..script };
            Deliver { contenders, script, viewers, count, rounds }.measure()
        }
        What::Poll { seconds, rounds } => {
            poll::measure(&arguments.who, &script, Duration::from_secs(seconds), rounds)
        }
        What::Returns { viewers, rounds } => returns::measure(&script, viewers, rounds),
        What::Deaf { viewers } => deaf::measure(&script, viewers),
        What::Draw { count, rounds } => draw::measure(count, rounds),
        What::Linked { few, many, contacts, on: On { settle, rounds, ref stores } } => {
            let (sessions, settle) = ([few, many], Duration::from_secs(settle));
            let server = arguments.server.as_deref();
            Linked { stores, sessions, contacts, settle, rounds, server }.measure()
        }
        What::Messages { sessions, each, on: On { settle, rounds, ref stores } } => {
            let (settle, server) = (Duration::from_secs(settle), arguments.server.as_deref());
            Messages { stores, sessions, each, settle, rounds, server }.measure()
        }
        What::All { quick, ref page } => {
            return all::run(quick, script.scripted, arguments.server.as_deref(), page.as_deref());
        }
        What::Floor { .. } | What::Nchan { .. } => return Ok(()),
    }?;
    say(&section.to_string());
    Ok(())
}

fn say(line: &str) {
    println!("{line}");
}
