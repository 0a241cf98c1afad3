//! What an idle stream holds: the memory of a fresh process without streams is taken from that of the same process with
//! them, after each has been left alone for a while (an allocator gives pages back late).

use std::time::Duration;

use super::proc;
use super::report::{Section, row};
use super::servers::{Contender, Script};
use super::viewers::Viewers;
use super::wire::Wire;

/// One measurement.
pub(crate) struct Idle<'a> {
    pub(crate) contenders: &'a [Contender],
    pub(crate) script: Script<'a>,
    pub(crate) streams: usize,
    pub(crate) settle: Duration,
}

impl Idle<'_> {
    pub(crate) fn measure(&self) -> anyhow::Result<Section> {
        let Self { contenders, script, streams, settle } = self;
        let title = format!("{streams} idle streams on {} sessions", script.sessions);
        let mut section = Section::new(
            &title,
            &["", "PSS a stream, KiB", "without streams, MB", "kernel's sockets, both ends, MB"],
        );
        let mut servers = Vec::new();
        for contender in contenders.iter() {
            servers.push((contender, contender.start(script)?));
        }
        // All of them settle at once.
        std::thread::sleep(*settle);
        for (contender, server) in servers {
            let (before, sockets) = (proc::pss(&server.pids), proc::sockets());
            let paths = server.paths(*streams);
            let mut viewers = Viewers::open(server.address, &[contender.wire], &paths)?;
            viewers.idle(*settle)?;
            let each = (proc::pss(&server.pids) - before) / *streams as f64 / 1024.0;
            section.add(row![
                contender,
                format!("{each:.2}"),
                format!("{:.1}", before / 1e6),
                format!("{:.1}", (proc::sockets() - sockets) / 1e6)
            ]);
        }
        Ok(section)
    }

    /// With both kinds of streams in one process: this server, whose paths are known.
    pub(crate) fn measure_both(&self) -> anyhow::Result<Section> {
        let Self { contenders, script, streams, settle } = self;
        let title =
            format!("{streams} idle streams on {} sessions, half SSE, half WebSocket", script.sessions);
        let mut section = Section::new(
            &title,
            &[
                "",
                "PSS a stream, KiB",
                "PSS of all streams, MB",
                "kernel's sockets, both ends, MB",
                "without streams, MB",
            ],
        );
        for contender in contenders.iter().filter(|contender| contender.wire == Wire::Sse) {
            let server = contender.start(script)?;
            std::thread::sleep(*settle);
            let (before, sockets) = (proc::pss(&server.pids), proc::sockets());
            let mut paths = server.paths(*streams);
            paths.iter_mut().skip(1).step_by(2).for_each(|path| *path = path.replace("/events", "/ws"));
            let mut viewers = Viewers::open(server.address, &[Wire::Sse, Wire::WebSocket], &paths)?;
            viewers.idle(*settle)?;
            let all = proc::pss(&server.pids) - before;
            section.add(row![
                contender.name(),
                format!("{:.2}", all / *streams as f64 / 1024.0),
                format!("{:.1}", all / 1e6),
                format!("{:.1}", (proc::sockets() - sockets) / 1e6),
                format!("{:.1}", before / 1e6)
            ]);
        }
        Ok(section)
    }
}
