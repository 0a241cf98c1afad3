//! The real client, with a store that survives its restarts, and its events as sentences.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use simulator::{Scan, Simulator};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;
use wacore::runtime::{AbortHandle, Runtime};
use wacore::store::in_memory::InMemoryBackend;
use wacore::store::traits::AppSyncStore as _;
use wacore::types::events::{Event, EventHandler};
use whatsapp_rust::TokioRuntime;
use whatsapp_rust::prelude::{Bot, BotHandle};
use whatsapp_rust::transport::TokioWebSocketTransportFactory;

use waproto::whatsapp::device_props::PlatformType;

use crate::DEADLINE;
use crate::media::Loopback;

/// The build that a client claims to be.
pub(crate) const BUILD: u32 = 1_030_000_000;

/// A store that outlives the client built on it.
#[derive(Clone)]
pub(crate) struct Store(Arc<InMemoryBackend>);

impl Store {
    pub(crate) fn new() -> Self {
        Self(Arc::new(InMemoryBackend::new()))
    }

    /// The version of a collection as the client has it.
    pub(crate) async fn version(&self, collection: &str) -> u64 {
        self.0.get_version(collection).await.unwrap().version
    }

    /// Waits until the client has this version of a collection.
    pub(crate) async fn reaches(&self, collection: &str, version: u64) {
        let reached = async {
            while self.version(collection).await != version {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = timeout(DEADLINE, reached).await;
        assert!(waited.is_ok(), "{collection} is at {} and not {version}", self.version(collection).await);
    }
}

/// A running client.
pub(crate) struct Client {
    pub(crate) inner: Arc<whatsapp_rust::Client>,
    handle: BotHandle,
    events: mpsc::UnboundedReceiver<Arc<Event>>,
}

struct Forward(mpsc::UnboundedSender<Arc<Event>>);

impl EventHandler for Forward {
    fn handle_event(&self, event: Arc<Event>) {
        let _test_is_over = self.0.send(event);
    }
}

/// Tokio, with shorter sleeps.
struct Hasty(u32);

#[async_trait]
impl Runtime for Hasty {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send + 'static>>) -> AbortHandle {
        TokioRuntime.spawn(future)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        TokioRuntime.sleep(duration / self.0)
    }

    fn spawn_blocking(
        &self,
        work: Box<dyn FnOnce() + Send + 'static>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        TokioRuntime.spawn_blocking(work)
    }

    fn yield_now(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        TokioRuntime.yield_now()
    }
}

impl Client {
    pub(crate) async fn start(simulator: &Simulator, store: &Store) -> Self {
        Self::start_hasty(simulator, store, 1).await
    }

    /// A client whose clock runs `factor` times as fast.
    pub(crate) async fn start_hasty(simulator: &Simulator, store: &Store, factor: u32) -> Self {
        Self::start_with(simulator, store, factor, Loopback(DEADLINE)).await
    }

    /// One with a way of its own to the media host.
    pub(crate) async fn start_with(
        simulator: &Simulator,
        store: &Store,
        factor: u32,
        http: Loopback,
    ) -> Self {
        Self::start_whole(simulator, store, factor, BUILD, http).await
    }

    /// A client that claims to be build `2.3000.<build>`.
    pub(crate) async fn start_as(simulator: &Simulator, store: &Store, factor: u32, build: u32) -> Self {
        Self::start_whole(simulator, store, factor, build, Loopback(DEADLINE)).await
    }

    async fn start_whole(
        simulator: &Simulator,
        store: &Store,
        factor: u32,
        build: u32,
        http: Loopback,
    ) -> Self {
        // Shown for a failed test, or with RUST_LOG and --nocapture.
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
        let _already = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let (sender, events) = mpsc::unbounded_channel();
        let bot = Bot::builder()
            .with_backend_arc(store.0.clone())
            .with_transport_factory(TokioWebSocketTransportFactory::new().with_url(simulator.url()))
            .with_http_client(http)
            .with_runtime(Hasty(factor))
            .with_version((2, 3000, build))
            .with_device_props(
                wacore::store::DevicePropsOverride::new()
                    .with_os("qrcast")
                    .with_platform_type(PlatformType::FIREFOX),
            )
            .with_wanted_pre_key_count(20)
            .skip_history_sync()
            .with_event_handler(Forward(sender))
            .build()
            .await
            .unwrap();
        let inner = bot.client();
        Self { inner, handle: bot.spawn(), events }
    }

    /// A new client that a phone has linked and that is connected; also its JID.
    pub(crate) async fn linked(simulator: &Simulator, store: &Store) -> (Self, String) {
        let mut client = Self::start(simulator, store).await;
        let qr = client.shows_qr().await;
        let jid = simulator.scan(Scan { qr, ..Scan::default() }).await.unwrap();
        client.expects("Connected").await;
        (client, jid)
    }

    pub(crate) async fn shows_qr(&mut self) -> String {
        match &*self.expects("PairingQrCode").await {
            Event::PairingQrCode(qr) => qr.code.clone(),
            _ => unreachable!(),
        }
    }

    /// Waits for an event of this name and skips others.
    pub(crate) async fn expects(&mut self, name: &str) -> Arc<Event> {
        self.expects_within(DEADLINE, name).await.1
    }

    /// The same with a deadline of one's own; also the names of what was skipped.
    pub(crate) async fn expects_within(
        &mut self,
        deadline: Duration,
        name: &str,
    ) -> (Vec<String>, Arc<Event>) {
        let mut skipped = Vec::new();
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the client ended");
                let found = self::name(&event);
                if found == name {
                    return event;
                }
                skipped.push(found);
            }
        };
        let event = timeout(deadline, search).await.unwrap_or_else(|_| panic!("no event {name}"));
        (skipped, event)
    }

    /// Waits for an event of this name; the names of those before it.
    pub(crate) async fn until(&mut self, name: &str) -> Vec<String> {
        let mut before = Vec::new();
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the client ended");
                match self::name(&event) {
                    found if found == name => return,
                    other => before.push(other),
                }
            }
        };
        timeout(DEADLINE * 2, search).await.unwrap_or_else(|_| panic!("no event {name}"));
        before
    }

    /// Waits for an event of one of these names.
    pub(crate) async fn either(&mut self, one: &str, other: &str) -> Arc<Event> {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the client ended");
                let found = name(&event);
                if found == one || found == other {
                    return event;
                }
            }
        };
        timeout(DEADLINE, search).await.unwrap_or_else(|_| panic!("neither {one} nor {other}"))
    }

    /// The client gives up by itself.
    pub(crate) async fn ends(self) {
        timeout(DEADLINE, self.handle).await.expect("the client goes on");
    }

    pub(crate) async fn stop(self) {
        self.handle.shutdown().await;
    }

    /// Names of the events that have come and were not looked at.
    pub(crate) fn leftover(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.events.try_recv().ok()).map(|event| name(&event)).collect()
    }
}

/// The name of an event's variant, which is all its `Debug` prints.
pub(crate) fn name(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
