//! The real WhatsApp: one `whatsapp-rust` client per link. The only file that starts the library's client.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dashmap::DashMap;
use tracing::warn;
use whatsapp_rust::anyhow;
use whatsapp_rust::bot::BotHandle;
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};
use whatsapp_rust::prelude::{Bot, Client};
use whatsapp_rust::transport::{TokioWebSocketTransportFactory, default_tls_connector};
use whatsapp_rust::wacore::store::{DevicePropsOverride, InMemoryBackend};

use super::connection::WatchedDialler;
use super::pace::Paced;
use super::translate::Translator;
use super::version::Versions;
use super::{Account, Link, Signals, StartError, WhatsApp};
use crate::id::SessionId;
use crate::shutdown::Shutdown;

/// Longest stop: beside a WhatsApp that accepts and says nothing the library takes 20 s.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What all clients of this process have in common.
#[derive(Clone, Debug)]
pub struct Options {
    /// What a phone lists a device as, where its session says nothing else.
    pub device_name: String,
    /// The version of WhatsApp Web to claim; looked up when `None`.
    pub version: Option<(u32, u32, u32)>,
    /// A WhatsApp of your own.
    #[cfg(feature = "simulator")]
    pub url: Option<String>,
    /// How much faster than real the library's timers run.
    pub time_factor: f64,
}

/// WhatsApp Web, through `whatsapp-rust`.
pub struct WhatsAppWeb(Arc<Shared>);

/// What every link of this process uses.
struct Shared {
    options: Options,
    /// One for all: its TLS roots are most of what a dialler costs.
    dialler: Arc<TokioWebSocketTransportFactory>,
    versions: Versions,
    /// The devices' keys. An entry goes with [`WhatsApp::forget`].
    devices: DashMap<SessionId, Arc<InMemoryBackend>>,
    tasks: Shutdown,
}

impl WhatsAppWeb {
    /// Nothing is opened yet. `tasks` counts the small tasks of running links.
    pub fn new(options: Options, tasks: Shutdown) -> Self {
        let dialler = TokioWebSocketTransportFactory::new().with_connector(default_tls_connector());
        let versions = match options.version {
            None => Versions::looked_up(),
            Some(version) => Versions::fixed(version),
        };
        #[cfg(feature = "simulator")]
        let (dialler, versions) = match &options.url {
            // A WhatsApp on loopback: no TLS, and any version will do.
            Some(url) => (TokioWebSocketTransportFactory::new().with_url(url), Versions::any()),
            None => (dialler, versions),
        };
        Self(Arc::new(Shared {
            options,
            dialler: Arc::new(dialler),
            versions,
            devices: DashMap::new(),
            tasks,
        }))
    }
}

#[async_trait]
impl WhatsApp for WhatsAppWeb {
    async fn start(&self, account: &Account, signals: Signals) -> Result<Box<dyn Link>, StartError> {
        let running = self.0.run(account, &signals).await?;
        let shared = self.0.clone();
        Ok(Box::new(WebLink { shared, account: account.clone(), signals, running: Some(running) }))
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StartError> {
        self.0.devices.remove(session);
        Ok(())
    }
}

impl Shared {
    async fn run(&self, account: &Account, signals: &Signals) -> Result<Running, StartError> {
        let factor = self.options.time_factor;
        let translator = Arc::new(Translator::new(signals.clone(), factor, self.tasks.clone()));
        let backend = self.devices.entry(account.session.clone()).or_default().clone();
        let name = account.device_name.as_ref().unwrap_or(&self.options.device_name);
        let bot = Bot::builder()
            .with_backend_arc(backend)
            .with_transport_factory(WatchedDialler {
                dialler: self.dialler.clone(),
                translator: translator.clone(),
            })
            .with_http_client(NoHttp)
            .with_runtime(Paced::new(factor))
            .with_version(self.versions.current().await)
            .with_device_props(DevicePropsOverride::new().with_os(name))
            .skip_history_sync()
            .build()
            .await
            .map_err(|error| StartError(error.to_string()))?;
        let client = bot.client();
        translator.attach(&client);
        Ok(Running { handle: bot.spawn(), client, translator })
    }
}

/// A client that runs.
struct Running {
    handle: BotHandle,
    client: Arc<Client>,
    translator: Arc<Translator>,
}

impl Running {
    /// Stops the client by its own `shutdown`, which stores its state.
    async fn stop(self) {
        if tokio::time::timeout(STOP_LIMIT, self.handle.shutdown()).await.is_err() {
            // Dropped while it waits for a WhatsApp that says nothing: there is no connection that could live on.
            warn!("a client did not stop in time");
        }
    }
}

/// One session's client, and what starts it again.
struct WebLink {
    shared: Arc<Shared>,
    account: Account,
    signals: Signals,
    /// `None` once it has stopped.
    running: Option<Running>,
}

#[async_trait]
impl Link for WebLink {
    fn is_reached(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.client.is_connected())
    }

    async fn retry(&mut self) -> Result<(), StartError> {
        if let Some(running) = self.running.take() {
            running.translator.retire();
            running.stop().await;
        }
        self.running = Some(self.shared.run(&self.account, &self.signals).await?);
        Ok(())
    }

    async fn stopped(&mut self) {
        match &mut self.running {
            Some(running) => (&mut running.handle).await,
            None => std::future::pending().await,
        }
        self.running = None;
    }

    async fn stop(self: Box<Self>) {
        if let Some(running) = self.running {
            running.stop().await;
        }
    }
}

/// History and media would need HTTP; we take neither.
struct NoHttp;

#[async_trait]
impl HttpClient for NoHttp {
    async fn execute(&self, _: HttpRequest) -> anyhow::Result<HttpResponse> {
        Err(anyhow::anyhow!("this server downloads nothing"))
    }
}
