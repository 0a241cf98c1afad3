//! Viewers that never read: what they cost the server, and whether those that read notice.

use std::time::Duration;

use anyhow::ensure;

use super::proc;
use super::report::{Section, row};
use super::servers::{Contender, Kind, Script};
use super::viewers::Viewers;
use super::wire::Wire;

/// One of so many.
const ONE_IN: usize = 20;

/// The server gives up on a viewer sooner than it does by default, so that it can be waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// More than what the kernel takes for a socket that nobody reads.
const EVENTS: u64 = 1500;

pub(crate) fn measure(script: &Script, viewers: usize) -> anyhow::Result<Section> {
    let columns = [
        "",
        "CPU s per million deliveries, all read",
        "one in 20 does not",
        "most memory for each that does not, KiB",
        "of these closed",
    ];
    let title =
        format!("{viewers} viewers of one session, 100 QRs a second, one viewer in {ONE_IN} never reads");
    let mut section = Section::new(&title, &columns);
    let patience = PATIENCE.as_secs().to_string();
    let variables = &[("SLOW_VIEWER_SECONDS", patience.as_str())];
    for wire in [Wire::WebSocket, Wire::Sse] {
        let contender = Contender { kind: Kind::Ours, wire };
        let script = Script { sessions: 1, events: "qr", per_second: 100.0, variables, ..*script };
        let (all, _, _) = run(contender, &script, viewers, 0)?;
        let (most, memory, closed) = run(contender, &script, viewers, viewers / ONE_IN)?;
        section.add(row![
            contender,
            format!("{all:.2}"),
            format!("{most:.2}"),
            format!("{memory:.1}"),
            closed
        ]);
    }
    Ok(section)
}

/// The cost of a million deliveries, the most memory of each that is deaf, and how many of these were closed.
fn run(
    contender: Contender,
    script: &Script,
    viewers: usize,
    deaf: usize,
) -> anyhow::Result<(f64, f64, usize)> {
    let mut server = contender.start(script)?;
    let paths = server.paths(viewers);
    let (deaf_paths, paths) = paths.split_at(deaf);
    let mut viewers = Viewers::open(server.address, &[contender.wire], paths)?;
    let mut silent = Viewers::begin(server.address, &[contender.wire], deaf_paths)?;
    viewers.forget();
    let (before, memory) = (proc::cpu(&server.pids), proc::pss(&server.pids));
    server.go(EVENTS)?;
    let mut most = memory;
    for part in 1..=10 {
        viewers.about(EVENTS / 10 * part)?;
        most = proc::pss(&server.pids).max(most);
    }
    viewers.expect(EVENTS)?;
    let took = proc::cpu(&server.pids) - before;
    server.done()?;
    viewers.idle(PATIENCE * 2)?;
    let closed = silent.closed();
    ensure!(closed <= deaf, "more were closed than were deaf");
    let cost = took / (EVENTS as f64 * paths.len() as f64) * 1e6;
    Ok((cost, (most - memory) / deaf.max(1) as f64 / 1024.0, closed))
}
