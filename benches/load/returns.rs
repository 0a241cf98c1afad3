//! A thundering return: all viewers are cut off, miss events, and come back at once with their cursors. Each must get what
//! it missed, once and in order.

use std::time::Instant;

use super::proc;
use super::report::{Section, Spread, row};
use super::servers::{Contender, Kind, Script};
use super::viewers::Viewers;
use super::wire::Wire;

/// Events that each viewer misses.
const MISSED: u64 = 4;

pub(crate) fn measure(script: &Script, viewers: usize, rounds: usize) -> anyhow::Result<Section> {
    let columns = [
        "",
        "ms of the server's processor for each viewer, median (least to most)",
        "s until all have everything",
    ];
    let title =
        format!("{viewers} viewers come back at once, each with a cursor that is {MISSED} events old");
    let mut section = Section::new(&title, &columns);
    for wire in [Wire::WebSocket, Wire::Sse] {
        let contender = Contender { kind: Kind::Ours, wire };
        let mut server = contender.start(&Script { events: "life", per_second: 100.0, ..*script })?;
        let (mut costs, mut times) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let paths = server.paths(viewers);
            let cursors = Viewers::open(server.address, &[wire], &paths)?.cursors();
            server.go(MISSED)?;
            server.done()?;
            let back = paths.iter().zip(cursors).map(|(path, cursor)| format!("{path}?lastEventId={cursor}"));
            let back: Vec<_> = back.collect();
            let (before, begin) = (proc::cpu(&server.pids), Instant::now());
            let mut viewers = Viewers::begin(server.address, &[wire], &back)?;
            viewers.expect(MISSED)?;
            times.push(begin.elapsed().as_secs_f64());
            costs.push((proc::cpu(&server.pids) - before) * 1000.0 / back.len() as f64);
        }
        section.add(row![contender, Spread::of(costs.into_iter()), Spread::of(times.into_iter())]);
    }
    Ok(section)
}
