//! A scripted WhatsApp for tests and for `examples/scripted.rs`, on tokio's clock. It tests the rules of link tasks, not
//! the protocol: the simulator plays that, with the real client.
//!
//! It records every client that was started, and how many of one account were alive at the same time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::sleep;

use super::version::{Version, VersionReport, VersionSource};
use super::{Account, Link, LoginTurn, Signal, Signals, StartError, Stopped, WhatsApp};
use crate::event::{Assertion, Me, Missing};
use crate::id::SessionId;

/// A WhatsApp for any number of replicas. Clones share it.
#[derive(Clone)]
pub struct Script(Arc<Shared>);

struct Shared {
    stage: Mutex<Stage>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Stage {
    /// Every client that was ever started, in order.
    clients: Vec<Client>,
    /// Where the clients of an account stand among them: a look-up costs the same with thousands of accounts.
    of: HashMap<SessionId, Vec<usize>>,
    /// The accounts whose keys are those of a linked device.
    linked: HashSet<SessionId>,
    most_at_once: HashMap<SessionId, usize>,
    stop_takes: Duration,
}

struct Client {
    epoch: u64,
    signals: Signals,
    alive: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self(Arc::new(Shared { stage: Mutex::default(), changed: watch::Sender::new(()) }))
    }
}

impl Script {
    /// Waits until `count` clients of an account were started.
    pub async fn client(&self, session: &SessionId, count: usize) {
        let mut changed = self.0.changed.subscribe();
        while self.starts(session) < count {
            // The sender lives in `self`, so this cannot fail.
            let _ = changed.changed().await;
        }
    }

    /// How many clients of an account were started.
    pub fn starts(&self, session: &SessionId) -> usize {
        self.0.stage().of(session).count()
    }

    /// The epochs of an account's clients, in the order of their starts.
    pub fn epochs(&self, session: &SessionId) -> Vec<u64> {
        self.0.stage().of(session).map(|client| client.epoch).collect()
    }

    /// Lets the client of an account show a QR that a phone can scan for so long.
    pub fn shows_qr(&self, session: &SessionId, qr_string: String, expires_in: Duration) {
        self.says(session, Signal::Qr { qr_string, attempt: 1, max_attempts: 6, expires_in });
    }

    /// Lets a phone scan, and the client log in with nothing missing.
    pub fn links(&self, session: &SessionId) {
        let id = format!("{}:1@s.whatsapp.net", session.user_id());
        let me = Me { id: id.clone(), push_name: None, platform: None };
        self.says(session, Signal::Paired { me });
        self.connects(session);
    }

    /// Lets the client of a linked device log in.
    pub fn connects(&self, session: &SessionId) {
        let id = format!("{}:1@s.whatsapp.net", session.user_id());
        self.says(session, Signal::Connected { id, push_name: None, missing: None });
    }

    /// Lets the connection of an account break.
    pub fn loses(&self, session: &SessionId) {
        self.says(session, Signal::Lost { detail: "the connection was reset".into() });
    }

    /// Lets the newest client of an account signal this, if it is alive.
    pub(crate) fn says(&self, session: &SessionId, signal: Signal) {
        let mut stage = self.0.stage();
        if matches!(signal, Signal::Paired { .. }) {
            stage.linked.insert(session.clone());
        }
        if let Some(client) = stage.of(session).rfind(|client| client.alive) {
            // Its link task has ended.
            let _ = client.signals.send(signal.into());
        }
    }
}

/// What the tests of link tasks ask and say.
#[cfg(test)]
impl Script {
    /// Sets how long a client takes to stop from now on.
    pub(crate) fn stops_take(&self, long: Duration) {
        self.0.stage().stop_takes = long;
    }

    /// How many clients of an account were alive at one time, at most.
    pub(crate) fn most_at_once(&self, session: &SessionId) -> usize {
        self.0.stage().most_at_once.get(session).copied().unwrap_or_default()
    }

    /// How many clients of an account live now.
    pub(crate) fn alive(&self, session: &SessionId) -> usize {
        self.0.stage().alive(session)
    }

    /// Lets the client of this epoch signal this, if it is alive.
    pub(crate) fn says_in(&self, session: &SessionId, epoch: u64, signal: Signal) {
        let stage = self.0.stage();
        let is_it = |client: &&Client| client.alive && client.epoch == epoch;
        if let Some(client) = stage.of(session).rfind(is_it) {
            // Its link task has ended.
            let _ = client.signals.send(signal.into());
        }
    }
}

impl Shared {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock()
    }
}

impl Stage {
    /// The clients of an account, in the order of their starts.
    fn of(&self, session: &SessionId) -> impl DoubleEndedIterator<Item = &Client> {
        self.of.get(session).into_iter().flatten().map(|at| &self.clients[*at])
    }

    fn alive(&self, session: &SessionId) -> usize {
        self.of(session).filter(|client| client.alive).count()
    }

    fn start(&mut self, account: &Account, signals: Signals) -> usize {
        let session = account.session.clone();
        self.of.entry(session.clone()).or_default().push(self.clients.len());
        self.clients.push(Client { epoch: account.epoch, signals, alive: true });
        let alive = self.alive(&session);
        let most = self.most_at_once.entry(session).or_default();
        *most = alive.max(*most);
        self.clients.len() - 1
    }
}

#[async_trait]
impl WhatsApp for Script {
    async fn start(&self, account: &Account, signals: Signals) -> Result<Box<dyn Link>, StartError> {
        let at = self.0.stage().start(account, signals.clone());
        self.0.changed.send_replace(());
        let (account, script) = (account.clone(), self.clone());
        Ok(Box::new(ScriptedLink { script, account, signals, at: Some(at) }))
    }

    fn turn(&self) -> LoginTurn {
        Box::pin(std::future::ready(()))
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StartError> {
        self.0.stage().linked.remove(session);
        Ok(())
    }

    async fn is_linked(&self, session: &SessionId) -> Result<bool, StartError> {
        Ok(self.0.stage().linked.contains(session))
    }

    async fn sessions(&self) -> Result<Vec<SessionId>, StartError> {
        Ok(self.0.stage().linked.iter().cloned().collect())
    }

    async fn is_whole(&self, _: &SessionId) -> Result<bool, StartError> {
        Ok(true)
    }

    fn version(&self) -> VersionReport {
        let patience = Duration::from_secs(24 * 3600);
        VersionReport {
            version: Version(1),
            source: VersionSource::BuiltIn,
            looked_up: None,
            failing_since: None,
            patience,
        }
    }

    async fn newer_version(&self, _: Version) -> Option<Version> {
        None
    }

    async fn until_newer_version(&self, _: Version) {
        std::future::pending().await
    }
}

struct ScriptedLink {
    script: Script,
    account: Account,
    signals: Signals,
    /// `None` once it has stopped.
    at: Option<usize>,
}

impl ScriptedLink {
    async fn ends(&mut self) {
        let Some(at) = self.at.take() else { return };
        let long = self.script.0.stage().stop_takes;
        sleep(long).await;
        self.script.0.stage().clients[at].alive = false;
        self.script.0.changed.send_replace(());
    }
}

#[async_trait]
impl Link for ScriptedLink {
    fn is_reached(&self) -> bool {
        self.at.is_some()
    }

    fn is_logged_in(&self) -> bool {
        self.at.is_some() && self.is_linked()
    }

    fn is_linked(&self) -> bool {
        self.script.0.stage().linked.contains(&self.account.session)
    }

    async fn missing(&self) -> Result<Option<Missing>, StartError> {
        Ok(None)
    }

    fn fetch_again(&self) {}

    fn answer_passkey(&self, _: Assertion) {}

    fn confirm_passkey(&self) {}

    fn end_passkey(&self) {}

    fn may_dial(&self) -> bool {
        true
    }

    fn back_off(&self) -> Duration {
        Duration::ZERO
    }

    fn turn(&self) -> LoginTurn {
        Box::pin(std::future::ready(()))
    }

    async fn halt(&mut self) {
        self.ends().await;
    }

    async fn retry(&mut self) -> Result<(), StartError> {
        self.ends().await;
        self.at = Some(self.script.0.stage().start(&self.account, self.signals.clone()));
        self.script.0.changed.send_replace(());
        Ok(())
    }

    async fn start_over(&mut self) -> Result<(), StartError> {
        self.script.forget(&self.account.session).await?;
        self.retry().await
    }

    async fn reopen(&mut self) -> Result<(), StartError> {
        Ok(())
    }

    async fn stopped(&mut self) -> Stopped {
        std::future::pending().await
    }

    fn request_code(&self, _: String) {}

    fn cancel_code(&self) {}

    async fn log_out(mut self: Box<Self>) {
        self.script.0.stage().linked.remove(&self.account.session);
        self.ends().await;
    }

    async fn stop(mut self: Box<Self>) {
        self.ends().await;
    }
}

/// Dropping a task ends its client, as with the real one.
impl Drop for ScriptedLink {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            self.script.0.stage().clients[at].alive = false;
        }
    }
}
