//! What a delivery costs: one event after the other to many viewers, the servers taking turns in each round.

use super::proc;
use super::report::{Section, Spread, row};
use super::servers::{Contender, Kind, Script, Server};
use super::viewers::Viewers;
use super::wire::Wire;

/// Events of a round that does not count: both that `life` has.
const WARM_UP: u64 = 2;

/// One measurement.
pub(crate) struct Deliver<'a> {
    pub(crate) contenders: &'a [Contender],
    pub(crate) script: Script<'a>,
    pub(crate) viewers: usize,
    /// Events of a round, over all sessions.
    pub(crate) count: u64,
    pub(crate) rounds: usize,
}

/// One server, and what its rounds showed.
struct Runner {
    contender: Contender,
    server: Server,
    /// Processor seconds for a million deliveries.
    costs: Vec<f64>,
}

impl Deliver<'_> {
    pub(crate) fn measure(&self) -> anyhow::Result<Section> {
        let lens = if self.contenders.iter().any(|contender| contender.kind == Kind::Ours) {
            self.lens()?
        } else {
            [self.script.len; 2]
        };
        let mut runners = Vec::new();
        for contender in self.contenders.iter().copied() {
            let len = lens[usize::from(contender.wire == Wire::Sse)];
            // What a peer adds to an event is its own.
            let len = if contender.kind == Kind::Floor { len } else { lens[0] - 4 };
            let server = contender.start(&Script { len, ..self.script })?;
            runners.push(Runner { contender, server, costs: Vec::new() });
        }
        if self.script.sessions == 1 {
            for runner in &mut runners {
                self.round(runner, WARM_UP)?;
                runner.costs.clear();
            }
        }
        for _ in 0..self.rounds {
            for runner in &mut runners {
                self.round(runner, self.count)?;
            }
        }
        Ok(self.section(&runners, lens[0]))
    }

    /// How long this server's frames are on the wire: WebSocket, SSE. All others send as many bytes.
    fn lens(&self) -> anyhow::Result<[usize; 2]> {
        let mut lens = [0; 2];
        for (len, wire) in lens.iter_mut().zip([Wire::WebSocket, Wire::Sse]) {
            let contender = Contender { kind: Kind::Ours, wire };
            let server = contender.start(&Script { sessions: 1, ..self.script })?;
            let mut runner = Runner { contender, server, costs: Vec::new() };
            *len = self.round(&mut runner, WARM_UP)?;
        }
        Ok(lens)
    }

    /// How many bytes a delivery had.
    fn round(&self, Runner { contender, server, costs }: &mut Runner, count: u64) -> anyhow::Result<usize> {
        let paths = server.paths(self.viewers);
        let mut viewers = Viewers::open(server.address, &[contender.wire], &paths)?;
        viewers.forget();
        let before = proc::cpu(&server.pids);
        server.go(count)?;
        let seen = viewers.expect(count / server.sessions.len() as u64)?;
        let took = proc::cpu(&server.pids) - before;
        server.done()?;
        costs.push(took / seen.events as f64 * 1e6);
        Ok((seen.bytes as f64 / seen.events as f64).round() as usize)
    }

    fn section(&self, runners: &[Runner], len: usize) -> Section {
        let Script { sessions, per_second, events, .. } = self.script;
        let what = if events == "qr" { "a new QR each time" } else { "lost and back in turn" };
        let title = format!(
            "{} viewers of {sessions} session(s), {per_second} events/s of {len} bytes ({what})",
            self.viewers
        );
        let columns =
            ["", "CPU s per million deliveries, median (least to most)", "as a multiple of the floor"];
        let mut section = Section::new(&title, &columns);
        for Runner { contender, costs, .. } in runners {
            let floor = runners.iter().find(|runner| runner.contender == contender.floor());
            let ratio = floor.map(|floor| {
                Spread::of(costs.iter().zip(&floor.costs).map(|(cost, floor)| cost / floor)).to_string()
            });
            section.add(row![contender, Spread::of(costs.iter().copied()), ratio.unwrap_or_default()]);
        }
        section
    }
}
