//! What a linked session costs, with the real client: memory as it was linked and as it is after a restart, processor time
//! of the link and of rest, and how soon a process that starts again has all of them back.

use std::path::Path;
use std::time::Duration;

use simulator::{Config, Simulator};

use super::real::{Place, Store};
use super::report::{Section, Spread, row};

/// One measurement.
pub(crate) struct Linked<'a> {
    pub(crate) stores: &'a [Store],
    /// Memory of a session is what the more have above the fewer.
    pub(crate) sessions: [usize; 2],
    /// Of each account.
    pub(crate) contacts: usize,
    pub(crate) settle: Duration,
    pub(crate) rounds: usize,
    /// The built server, where it is not the one beside this program.
    pub(crate) server: Option<&'a Path>,
}

/// The figures of one round.
struct Round {
    linked: f64,
    restored: f64,
    cpu: f64,
    ready: f64,
    idle: f64,
    answered: f64,
    back: f64,
}

impl Linked<'_> {
    pub(crate) fn measure(&self) -> anyhow::Result<Section> {
        let [few, many] = self.sessions;
        let title = format!("Linked sessions with the real client, {} contacts each", self.contacts);
        let all = format!("s until {many} are back");
        let mut section = Section::new(
            &title,
            &[
                "",
                &format!("PSS a session, {few} to {many}, KiB"),
                "after a restart, KiB",
                "CPU of a link, ms",
                "from scan to `ready`, ms",
                &format!("CPU of {many} idle, % of a core"),
                "restart: s to the first answer",
                &all,
            ],
        );
        let runtime = tokio::runtime::Runtime::new()?;
        for store in self.stores {
            let mut rounds = Vec::new();
            for _ in 0..self.rounds {
                rounds.push(runtime.block_on(self.round(*store))?);
            }
            let spread = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
            section.add(row![
                store.name(),
                spread(|round| round.linked / 1024.0),
                spread(|round| round.restored / 1024.0),
                spread(|round| round.cpu * 1000.0),
                spread(|round| round.ready * 1000.0),
                spread(|round| round.idle * 100.0),
                spread(|round| round.answered),
                spread(|round| round.back),
            ]);
        }
        Ok(section)
    }

    async fn round(&self, store: Store) -> anyhow::Result<Round> {
        let ([few, many], settle) = (self.sessions, self.settle);
        let whatsapp = Simulator::start(Config { contacts: self.contacts, ..Config::default() }).await?;
        // The fewer are restored in a place of their own, beside the other, so that each figure is a fresh process's.
        let [place, beside] =
            [Place::new(store, &whatsapp, self.server)?, Place::new(store, &whatsapp, self.server)?];
        let smaller = beside.start().await?;
        smaller.link(&whatsapp, 0..few).await?;
        drop(smaller);
        let smaller = beside.start().await?;
        smaller.until_connected(few).await?;

        let server = place.start().await?;
        server.link(&whatsapp, 0..few).await?;
        tokio::time::sleep(settle).await;
        let (least, restored) = (server.memory(), smaller.memory());
        drop(smaller);
        let before = server.cpu();
        let mut ready: Vec<_> = server.link(&whatsapp, few..many).await?;
        // What the client does right after `ready` is a part of the link.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let cpu = (server.cpu() - before) / ready.len() as f64;
        ready.sort_by_key(|link| link.took);
        tokio::time::sleep(settle).await;
        let linked = server.memory() - least;
        let before = server.cpu();
        tokio::time::sleep(settle).await;
        let idle = (server.cpu() - before) / settle.as_secs_f64();
        drop(server);

        let server = place.start().await?;
        let back = server.until_connected(many).await?;
        tokio::time::sleep(settle).await;
        let more = (many - few) as f64;
        Ok(Round {
            linked: linked / more,
            restored: (server.memory() - restored) / more,
            cpu,
            ready: ready[ready.len() / 2].took.as_secs_f64(),
            idle,
            answered: server.answered.as_secs_f64(),
            back: back.as_secs_f64(),
        })
    }
}
