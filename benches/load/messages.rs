//! What a message costs that a linked session receives: qrcast passes none on, but its client decrypts and acknowledges
//! each, and stores the ratchet.

use std::path::Path;
use std::time::{Duration, Instant};

use simulator::{Config, Simulator, Write};

use super::real::{Linked, Place, Real, Store};
use super::report::{Section, Spread, row};

/// Before the figures are taken: the first message of a friend opens a Signal session.
const WARM_UP: usize = 5;

/// One measurement.
pub(crate) struct Messages<'a> {
    pub(crate) stores: &'a [Store],
    pub(crate) sessions: usize,
    /// Of each session, one a second.
    pub(crate) each: usize,
    pub(crate) settle: Duration,
    pub(crate) rounds: usize,
    /// The built server, where it is not the one beside this program.
    pub(crate) server: Option<&'a Path>,
}

impl Messages<'_> {
    pub(crate) fn measure(&self) -> anyhow::Result<Section> {
        let Self { sessions, each, .. } = self;
        let title =
            format!("{sessions} linked sessions that receive a message a second each, {each} in a round");
        let mut section =
            Section::new(&title, &["", "CPU of a message, ms", "memory that a round has added, KiB in all"]);
        let runtime = tokio::runtime::Runtime::new()?;
        for store in self.stores {
            let (costs, more) = runtime.block_on(self.rounds(*store))?;
            section.add(row![store.name(), Spread::of(costs.into_iter()), Spread::of(more.into_iter())]);
        }
        Ok(section)
    }

    /// All rounds in one process, whose memory must not grow from one to the next.
    async fn rounds(&self, store: Store) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
        let whatsapp = Simulator::start(Config::default()).await?;
        let place = Place::new(store, &whatsapp, self.server)?;
        let server = place.start().await?;
        let linked = server.link(&whatsapp, 0..self.sessions).await?;
        receive(&whatsapp, &linked, WARM_UP).await?;
        tokio::time::sleep(self.settle).await;
        let idle = self.idle(&server).await;
        let (mut costs, mut more) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            let (memory, cpu, begun) = (server.memory(), server.cpu(), Instant::now());
            receive(&whatsapp, &linked, self.each).await?;
            let cpu = server.cpu() - cpu - idle * begun.elapsed().as_secs_f64();
            costs.push(cpu * 1000.0 / (self.sessions * self.each) as f64);
            tokio::time::sleep(self.settle).await;
            more.push((server.memory() - memory) / 1024.0);
        }
        Ok((costs, more))
    }

    /// Processor seconds of a second without messages.
    async fn idle(&self, server: &Real) -> f64 {
        let before = server.cpu();
        tokio::time::sleep(self.settle).await;
        (server.cpu() - before) / self.settle.as_secs_f64()
    }
}

/// Each session gets so many messages, one a second, spread over the second.
async fn receive(whatsapp: &Simulator, linked: &[Linked], count: usize) -> anyhow::Result<()> {
    let begun = tokio::time::Instant::now();
    let gap = Duration::from_secs(1).div_f64(linked.len() as f64);
    let friends = linked.iter().zip(0..).map(async |(session, number)| {
        for second in 0..count as u64 {
            tokio::time::sleep_until(begun + gap * number + Duration::from_secs(second)).await;
            let write = Write { jid: session.jid.clone(), count: Some(1), ..Write::default() };
            let written = whatsapp.write(write).await?;
            anyhow::ensure!(written.acknowledged == 1, "a message could not be read");
        }
        Ok(())
    });
    futures::future::try_join_all(friends).await.map(drop)
}
