//! The link task: runs one session's WhatsApp client and writes what happens into the session's log.
//!
//! One task, one session, one epoch. It is the only writer of its session: signal → facts → stored → shown.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use super::{Session, status};
use crate::bus::{AppendError, Bus};
use crate::event::{Cursor, Disconnected, Event, Kind, Reason, Status, Time};
use crate::shutdown::Shutdown;
use crate::whatsapp::{Account, Link, Signal, WhatsApp};

/// The runner's own clocks.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// From the first failed try until viewers hear that WhatsApp is unreachable.
    pub unreachable: Duration,
    /// Longest pause between two tries. The client's own grows to 15 minutes.
    pub retry: Duration,
    /// Pause before a client that stopped for no reason is started again.
    pub again: Duration,
}

impl Timers {
    /// The contract's clocks, made faster by a factor.
    pub fn faster(factor: f64) -> Self {
        let scaled = |seconds: u64| Duration::from_secs(seconds).div_f64(factor);
        // 50 s and not 60, so that a try that takes a few seconds still begins within the minute.
        Self { unreachable: scaled(20), retry: scaled(50), again: scaled(1) }
    }
}

/// Everything a link task needs.
pub(super) struct Runner {
    pub(super) session: Arc<Session>,
    pub(super) epoch: u64,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) whatsapp: Arc<dyn WhatsApp>,
    pub(super) timers: Timers,
    pub(super) shutdown: Shutdown,
}

impl Runner {
    /// Runs until the session has ended, its QRs are used up, another owner has it, or the server stops.
    pub(super) async fn run(self) {
        let account = Account {
            session: self.session.id().clone(),
            epoch: self.epoch,
            device_name: self.session.about().device_name.clone(),
        };
        let (sender, signals) = mpsc::unbounded_channel();
        match self.whatsapp.start(&account, sender).await {
            Ok(link) => LinkTask::new(self).run(link, signals).await,
            Err(error) => error!(session = %self.session.id(), %error, "session error"),
        }
    }
}

/// Whether the link task goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    /// The session needs no client any more, or is no longer ours.
    Stop,
    /// The server stops: another will run this session.
    HandOver,
}

/// WhatsApp out of reach: since a failed try, until any answer.
struct Outage {
    /// When viewers hear of it; `None` once they have.
    tell_at: Option<Instant>,
    detail: String,
}

/// A runner whose client runs.
struct LinkTask {
    runner: Runner,
    cursor: Cursor,
    outage: Option<Outage>,
    retry_at: Option<Instant>,
}

impl LinkTask {
    fn new(runner: Runner) -> Self {
        Self { cursor: Cursor::start_of(runner.epoch), outage: None, retry_at: None, runner }
    }

    async fn run(mut self, mut link: Box<dyn Link>, mut signals: mpsc::UnboundedReceiver<Signal>) {
        let end = loop {
            let tell_at = self.outage.as_ref().and_then(|outage| outage.tell_at);
            // In this order: what the client said before it stopped is heard before its stop.
            let next = tokio::select! {
                biased;
                () = self.runner.shutdown.begun() => Next::HandOver,
                Some(signal) = signals.recv() => self.hear(signal).await,
                () = link.stopped() => self.client_stopped().await,
                () = at(tell_at) => self.tell_unreachable(link.as_ref()).await,
                () = at(self.retry_at) => self.retry(link.as_mut()).await,
            };
            if next != Next::GoOn {
                break next;
            }
        };
        // The client first, then the word to viewers: nothing follows it in this epoch.
        link.stop().await;
        if end == Next::HandOver {
            self.append(Kind::Disconnected(Disconnected::new(Reason::Shutdown, None)), Time::now()).await;
        }
        debug!(session = %self.runner.session.id(), epoch = self.runner.epoch, "link task ended");
    }

    async fn hear(&mut self, signal: Signal) -> Next {
        match &signal {
            Signal::Connecting => self.retry_at = None,
            Signal::ConnectFailed { detail } => {
                warn!(session = %self.runner.session.id(), error = %detail, "client connection failed");
                self.connect_failed(detail.clone());
            }
            Signal::Lost { .. } => self.retry_after(self.runner.timers.retry),
            Signal::TurnedAway { .. } => {
                self.outage = None;
                self.retry_after(self.runner.timers.retry);
            }
            // Everything else is an answer of WhatsApp.
            _ => self.outage = None,
        }
        self.write(signal).await
    }

    /// Turns a signal into facts, stores each, then shows it.
    async fn write(&mut self, signal: Signal) -> Next {
        let now = Time::now();
        for kind in status::facts(&self.runner.session.snapshot().state, signal, now) {
            if self.append(kind, now).await == Next::Stop {
                return Next::Stop;
            }
        }
        let state = self.runner.session.snapshot().state;
        if state.ended || state.status == Status::Disconnected { Next::Stop } else { Next::GoOn }
    }

    async fn append(&mut self, kind: Kind, now: Time) -> Next {
        let session = &self.runner.session;
        let state = status::apply(&session.snapshot().state, &kind, now);
        let event = Arc::new(Event::new(session.id().clone(), self.cursor.next(), now, kind, state));
        match self.runner.bus.append(event.clone()).await {
            Ok(()) => {
                let (kind, status) = (event.kind.name(), event.state.status.as_str());
                info!(session = %session.id(), id = %event.at, kind, status, "session event");
                self.cursor = event.at;
                session.record(event);
                Next::GoOn
            }
            Err(error @ AppendError::Fenced { .. }) => {
                warn!(session = %session.id(), epoch = self.runner.epoch, %error, "another owner has this session");
                Next::Stop
            }
        }
    }

    fn retry_after(&mut self, pause: Duration) {
        self.retry_at = Some(Instant::now() + pause);
    }

    fn connect_failed(&mut self, detail: String) {
        self.retry_after(self.runner.timers.retry);
        let tell_at = Instant::now() + self.runner.timers.unreachable;
        match &mut self.outage {
            Some(outage) => outage.detail = detail,
            None => self.outage = Some(Outage { tell_at: Some(tell_at), detail }),
        }
    }

    async fn tell_unreachable(&mut self, link: &dyn Link) -> Next {
        let Some(outage) = self.outage.as_mut().filter(|_| !link.is_reached()) else {
            self.outage = None;
            return Next::GoOn;
        };
        outage.tell_at = None;
        let detail = outage.detail.clone();
        self.write(Signal::Unreachable { detail }).await
    }

    /// The client ended without a word that ends the session, as when its QRs ran out while nobody could scan them.
    async fn client_stopped(&mut self) -> Next {
        self.retry_after(self.runner.timers.again);
        self.write(Signal::Lost { detail: "the client stopped".into() }).await
    }

    async fn retry(&mut self, link: &mut dyn Link) -> Next {
        self.retry_at = None;
        if let Err(error) = link.retry().await {
            error!(session = %self.runner.session.id(), %error, "session error");
            self.connect_failed(error.to_string());
        }
        Next::GoOn
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
