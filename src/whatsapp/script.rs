//! A scripted WhatsApp for tests, on tokio's clock. It tests the rules of link tasks, not the protocol: the simulator
//! plays that, with the real client.
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
pub(crate) struct Script(Arc<Shared>);

struct Shared {
    stage: Mutex<Stage>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Stage {
    /// Every client that was ever started, in order.
    clients: Vec<Client>,
    /// The accounts whose keys are those of a linked device.
    linked: HashSet<SessionId>,
    most_at_once: HashMap<SessionId, usize>,
    stop_takes: Duration,
}

struct Client {
    account: Account,
    signals: Signals,
    alive: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self(Arc::new(Shared { stage: Mutex::default(), changed: watch::Sender::new(()) }))
    }
}

impl Script {
    /// Sets how long a client takes to stop from now on.
    pub(crate) fn stops_take(&self, long: Duration) {
        self.0.stage().stop_takes = long;
    }

    /// Waits until `count` clients of an account were started.
    pub(crate) async fn client(&self, session: &SessionId, count: usize) {
        let mut changed = self.0.changed.subscribe();
        while self.starts(session) < count {
            // The sender lives in `self`, so this cannot fail.
            let _ = changed.changed().await;
        }
    }

    /// How many clients of an account were started.
    pub(crate) fn starts(&self, session: &SessionId) -> usize {
        self.0.stage().clients.iter().filter(|client| client.account.session == *session).count()
    }

    /// How many clients of an account were alive at one time, at most.
    pub(crate) fn most_at_once(&self, session: &SessionId) -> usize {
        self.0.stage().most_at_once.get(session).copied().unwrap_or_default()
    }

    /// How many clients of an account live now.
    pub(crate) fn alive(&self, session: &SessionId) -> usize {
        self.0.stage().alive(session)
    }

    /// The epochs of an account's clients, in the order of their starts.
    pub(crate) fn epochs(&self, session: &SessionId) -> Vec<u64> {
        let stage = self.0.stage();
        let clients = stage.clients.iter().filter(|client| client.account.session == *session);
        clients.map(|client| client.account.epoch).collect()
    }

    /// Lets the newest client of an account signal this, if it is alive.
    pub(crate) fn says(&self, session: &SessionId, signal: Signal) {
        let mut stage = self.0.stage();
        if matches!(signal, Signal::Paired { .. }) {
            stage.linked.insert(session.clone());
        }
        let newest = stage.clients.iter().rfind(|client| client.account.session == *session && client.alive);
        if let Some(client) = newest {
            // Its link task has ended.
            let _ = client.signals.send(signal);
        }
    }

    /// Lets the client of this epoch signal this, if it is alive.
    pub(crate) fn says_in(&self, session: &SessionId, epoch: u64, signal: Signal) {
        let stage = self.0.stage();
        let is_it = |client: &&Client| client.account.session == *session && client.account.epoch == epoch;
        if let Some(client) = stage.clients.iter().filter(|client| client.alive).rfind(is_it) {
            // Its link task has ended.
            let _ = client.signals.send(signal);
        }
    }

    /// Lets a phone scan, and the client log in with nothing missing.
    pub(crate) fn links(&self, session: &SessionId) {
        let id = format!("{}:1@s.whatsapp.net", session.user_id());
        let me = Me { id: id.clone(), push_name: None, platform: None };
        self.says(session, Signal::Paired { me });
        self.connects(session);
    }

    /// Lets the client of a linked device log in.
    pub(crate) fn connects(&self, session: &SessionId) {
        let id = format!("{}:1@s.whatsapp.net", session.user_id());
        self.says(session, Signal::Connected { id, push_name: None, missing: None });
    }
}

impl Shared {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock()
    }
}

impl Stage {
    fn alive(&self, session: &SessionId) -> usize {
        self.clients.iter().filter(|client| client.alive && client.account.session == *session).count()
    }

    fn start(&mut self, account: &Account, signals: Signals) -> usize {
        let account = account.clone();
        let session = account.session.clone();
        self.clients.push(Client { account, signals, alive: true });
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
