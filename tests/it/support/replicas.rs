//! Many replicas on one Redis: real processes, one WhatsApp, and what can happen to each of them.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;
use qrcast::event::Cursor;
use reqwest::StatusCode;
use serde_json::Value;
use simulator::{Scan, Simulator, Write};
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

use super::server::Builder;
use super::witness::{Living, Saw, Transport, Witness, id};
use super::{Seen, Server, eventually, soon, whatsapp};

/// How long a lease lasts, where a test says nothing else.
pub(crate) const LEASE: std::time::Duration = std::time::Duration::from_millis(5000);

/// Held for reading by every deployment, for writing by one whose deadlines are being measured.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// How many replicas were started.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// Names the binary of an earlier version, which is then every second replica: see `scripts/mixed`.
const BEFORE: &str = "QRCAST_BEFORE";

/// Whether replicas are of two versions.
pub(crate) fn is_mixed() -> bool {
    std::env::var_os(BEFORE).is_some()
}

/// Replicas, told what to be.
pub(crate) struct Plan {
    variables: Vec<(String, String)>,
    alone: bool,
    beside: Option<(Arc<Simulator>, Turn)>,
}

/// The share of the machine that a deployment holds.
type Turn = Arc<dyn Any + Send + Sync>;

impl Plan {
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// While no other deployment runs: for deadlines.
    pub(crate) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// With the WhatsApp of another deployment.
    pub(crate) fn beside(mut self, other: &Replicas) -> Self {
        self.beside = Some((other.whatsapp.clone(), other.turn.clone()));
        self
    }

    /// Starts so many, all at once, and waits until each is ready.
    pub(crate) async fn start(self, count: usize) -> Replicas {
        let (whatsapp, turn) = match self.beside {
            Some(both) => both,
            None if self.alone => (Arc::new(whatsapp().await), Arc::new(MACHINE.write().await) as Turn),
            None => (Arc::new(whatsapp().await), Arc::new(MACHINE.read().await) as Turn),
        };
        let variables = self.variables;
        let mut replicas =
            Replicas { whatsapp, variables, replicas: vec![], living: Living::default(), turn };
        let started = futures::future::join_all((0..count).map(|_| replicas.another())).await;
        for replica in started {
            replicas.takes_in(replica);
        }
        replicas
    }
}

/// A deployment. Dropping it kills it.
pub(crate) struct Replicas {
    pub(crate) whatsapp: Arc<Simulator>,
    variables: Vec<(String, String)>,
    replicas: Vec<Replica>,
    living: Living,
    turn: Turn,
}

struct Replica {
    /// As `/health` and the `owner` of its sessions have it.
    name: String,
    /// `None` once it is gone.
    server: Option<Server>,
}

/// A session and the device that is linked in it.
#[derive(Clone, Debug)]
pub(crate) struct Linked {
    pub(crate) id: String,
    pub(crate) jid: String,
}

impl Replicas {
    /// On the Redis of this URL.
    pub(crate) fn on(redis: &str) -> Plan {
        let plan = Plan { variables: Vec::new(), alone: false, beside: None };
        plan.variable("REDIS_URL", redis)
            .variable("LEASE_TTL_MS", &LEASE.as_millis().to_string())
            .variable("READY_DELAY_MS", "500")
            .variable("DRAIN_SECONDS", "2")
    }

    fn builder(&self) -> Builder {
        let builder = Server::builder(&self.whatsapp.url());
        self.variables.iter().fold(builder, |builder, (name, value)| builder.variable(name, value))
    }

    async fn another(&self) -> Replica {
        let mut builder = self.builder();
        if let Ok(path) = std::env::var(BEFORE)
            && STARTED.fetch_add(1, Ordering::Relaxed) % 2 == 1
        {
            builder = builder.program(path);
        }
        let server = builder.start().await;
        is_ready(&server).await;
        let health: Value = server.get("/health").await.json().await.unwrap();
        let name = health["replica"].as_str().unwrap().to_owned();
        Replica { name, server: Some(server) }
    }

    fn takes_in(&mut self, replica: Replica) -> usize {
        self.living.lock().unwrap().push(replica.server.as_ref().unwrap().base.clone());
        self.replicas.push(replica);
        self.replicas.len() - 1
    }

    /// One more; its number.
    pub(crate) async fn grows(&mut self) -> usize {
        let replica = self.another().await;
        self.takes_in(replica)
    }

    pub(crate) fn at(&self, number: usize) -> &Server {
        self.replicas[number].server.as_ref().expect("it lives")
    }

    pub(crate) fn name(&self, number: usize) -> &str {
        &self.replicas[number].name
    }

    /// One that lives and is not paused.
    pub(crate) fn anyone(&self) -> &Server {
        let base = self.living.lock().unwrap().last().expect("somebody lives").clone();
        self.replicas.iter().filter_map(|replica| replica.server.as_ref()).find(|s| s.base == base).unwrap()
    }

    fn strikes_off(&self, number: usize) {
        let base = self.at(number).base.clone();
        self.living.lock().unwrap().retain(|living| *living != base);
    }

    /// `kill -9`.
    pub(crate) async fn kills(&mut self, number: usize) {
        self.strikes_off(number);
        self.replicas[number].server.take().unwrap().crash().await;
    }

    /// SIGSTOP: its connections stay, it does nothing.
    pub(crate) fn pauses(&self, number: usize) {
        self.strikes_off(number);
        self.at(number).signal("-STOP");
    }

    /// SIGCONT.
    pub(crate) fn wakes(&self, number: usize) {
        self.at(number).signal("-CONT");
        self.living.lock().unwrap().push(self.at(number).base.clone());
    }

    /// SIGTERM, and its good end.
    pub(crate) async fn stops(&mut self, number: usize) {
        self.strikes_off(number);
        let mut server = self.replicas[number].server.take().unwrap();
        assert_eq!(server.terminate().await, Some(0), "{:#?}", server.log());
    }

    /// The number of the replica that owns a session, if one does.
    pub(crate) async fn owner_of(&self, session: &str) -> Option<usize> {
        let status = self.anyone().session(session).status().await;
        let owner = status["owner"].as_str()?;
        self.replicas.iter().position(|replica| replica.name == owner)
    }

    /// In the end so many clients are connected to WhatsApp: one for each session that runs.
    pub(crate) async fn has_clients(&self, count: usize) {
        eventually("one client for each session", || async { self.whatsapp.state().clients == count }).await;
    }

    /// A phone scans this event's QR.
    pub(crate) async fn scans(&self, qr: &Seen) -> String {
        let qr = qr.data["qrString"].as_str().unwrap().to_owned();
        soon("a scan", self.whatsapp.scan(Scan { qr, ..Scan::default() })).await.unwrap()
    }

    /// A linked session, made on this replica.
    pub(crate) async fn links(&self, number: usize, user: &str) -> Linked {
        let session = self.at(number).init(user).await;
        let mut viewer = session.websocket().await;
        let jid = self.scans(&viewer.awaits("qr").await).await;
        viewer.awaits("ready").await;
        Linked { id: session.id, jid }
    }

    /// Many of them, each of a user of its own.
    pub(crate) async fn links_many(&self, number: usize, count: usize) -> Vec<Linked> {
        let each = |n: usize| async move { self.links(number, &format!("user{number}.{n}")).await };
        futures::stream::iter((0..count).map(each)).buffered(8).collect().await
    }

    /// A friend writes to a device. The task ends well when all of it was received and could be read.
    pub(crate) fn writes_to(&self, jid: &str) -> JoinHandle<()> {
        let whatsapp = self.whatsapp.clone();
        let write = Write { jid: jid.to_owned(), text: None, count: Some(20) };
        tokio::spawn(async move {
            let written = soon("the messages", whatsapp.write(write)).await.unwrap();
            assert_eq!((written.acknowledged, written.retries), (20, 0), "{written:?}");
        })
    }

    /// Somebody who watches a session, first on this replica.
    pub(crate) fn watches(&self, number: usize, session: &str, transport: Transport) -> Witness {
        Witness::follows(&self.at(number).base, session, transport, &self.living)
    }

    /// The id of a session's last event.
    pub(crate) async fn end_of(&self, session: &str) -> Cursor {
        let status = self.anyone().session(session).status().await;
        status["lastEventId"].as_str().unwrap().parse().unwrap()
    }

    /// What a session's log has after an event. Not for a log that ends with an expired QR, which is not shown again.
    pub(crate) async fn log_after(&self, session: &str, after: Cursor) -> Vec<Seen> {
        let end = self.end_of(session).await;
        let server = self.anyone();
        let mut viewer = server.session(session).sse_after(Some(&after.to_string())).await;
        let opening = viewer.expects("status").await;
        assert_eq!(opening.data["gap"], false, "{session} after {after}: {opening:?}");
        let mut log = Vec::new();
        while log.last().map_or(after, id) < end {
            log.push(viewer.next().await.unwrap());
        }
        log
    }

    /// A witness has the whole log, from its own first event on; what it saw.
    pub(crate) async fn is_whole(&self, witness: &Witness) -> Saw {
        let first = witness.until("a first event", |saw| !saw.events.is_empty()).await.events.remove(0);
        self.is_whole_after(witness, id(&first)).await
    }

    /// A witness has the whole log after this event; what it saw. QRs are left out: a log shows only those that can still
    /// be scanned.
    pub(crate) async fn is_whole_after(&self, witness: &Witness, after: Cursor) -> Saw {
        let without_qrs = |events: &[Seen]| -> Vec<Seen> {
            events.iter().filter(|seen| seen.event != "qr").cloned().collect()
        };
        let log = self.log_after(&witness.session, after).await;
        let end = log.last().map_or(after, id);
        let saw = witness.reaches(end).await;
        let told: Vec<Seen> =
            saw.events.iter().filter(|seen| id(seen) > after && id(seen) <= end).cloned().collect();
        assert_eq!(without_qrs(&told), without_qrs(&log), "{}", witness.session);
        saw
    }

    /// No device was ever logged in twice for longer than it takes to notice.
    pub(crate) fn never_two_logins(&self) {
        for device in self.whatsapp.state().devices {
            assert!(device.overlap_ms <= 500, "{device:?}");
        }
    }

    /// How often a device was let in.
    pub(crate) fn logins(&self, jid: &str) -> u64 {
        let devices = self.whatsapp.state().devices;
        devices.iter().find(|device| device.jid == jid).expect("a device").logins
    }
}

/// Waits until a server takes requests.
pub(crate) async fn is_ready(server: &Server) {
    eventually("readiness", || async { server.get("/readyz").await.status() == StatusCode::OK }).await;
}
