//! The real WhatsApp: one `whatsapp-rust` client per link. The only file that starts the library's client.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use metrics::counter;
use tracing::{Instrument as _, debug, warn};
use whatsapp_rust::anyhow;
use whatsapp_rust::bot::BotHandle;
use whatsapp_rust::cache_config::{CacheConfig, MsgSecretPolicy};
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::passkey::{self, PasskeyError};
use whatsapp_rust::prelude::{Bot, Client};
use whatsapp_rust::wacore::store::DevicePropsOverride;
use whatsapp_rust::wacore::store::commands::DeviceCommand;
use whatsapp_rust::waproto::whatsapp::device_props::PlatformType;

use super::connection::WatchedDialler;
use super::egress::{Egress, Egresses, Watch};
use super::login_backoff::{LoginBackoff, pause_after};
use super::login_queue::LoginQueue;
use super::reach::Pass;
use super::runtime::{Holds, ScaledRuntime};
use super::store::device::is_whole;
use super::store::{DeviceStorage, Engine, EngineError, Fence, Stored, is_linked};
use super::translate::{Translator, passkey_refused};
use super::version::{Version, VersionReport, Versions};
use super::{Account, Link, LoginTurn, Signal, Signals, StartError, Stopped, WhatsApp};
use crate::event::{Assertion, Missing, PairingMethod, PairingRefusal};
use crate::id::SessionId;
use crate::platform::Platform;
use crate::proxy::Proxy;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::WHATSAPP_EVENTS_DROPPED;

/// The time limit of a stop. If WhatsApp accepts the connection and does not answer, the library takes 20 s.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How long a request for a pairing code waits for the connection.
const CODE_TIMEOUT: Duration = Duration::from_secs(20);

/// What all clients of this process share.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The proxy for sessions that have none of their own.
    pub proxy: Option<Proxy>,
    /// The device name for sessions that have none of their own.
    pub device_name: String,
    /// The platform that new links claim.
    pub platform: Platform,
    /// The version of WhatsApp Web to claim; looked up if `None`.
    pub version: Option<Version>,
    /// How many sessions may log in again within a second.
    pub logins_per_second: u32,
    /// The address of a simulated WhatsApp.
    #[cfg(feature = "simulator")]
    pub url: Option<String>,
    /// How much faster than real the library's timers run.
    pub time_factor: f64,
}

/// WhatsApp Web, through `whatsapp-rust`.
pub(crate) struct WhatsAppWeb(Arc<Shared>);

/// The parts that every link of this process uses.
struct Shared {
    options: Options,
    egresses: Egresses,
    turns: Arc<LoginQueue>,
    versions: Arc<Versions>,
    /// The devices' keys.
    engine: Arc<dyn Engine>,
    tasks: Shutdown,
}

impl WhatsAppWeb {
    /// Begins to look the version up, unless it is set. `tasks` counts the look-up and the small tasks of running
    /// links.
    pub(crate) fn new(options: Options, engine: Arc<dyn Engine>, tasks: Shutdown) -> Self {
        let proxy = options.proxy.clone();
        let watch = Watch { factor: options.time_factor, tasks: tasks.clone() };
        let turns = Arc::new(LoginQueue::new(options.logins_per_second, &tasks));
        #[cfg(feature = "simulator")]
        let egresses = match &options.url {
            Some(url) => Egresses::to_simulator(url, proxy, watch),
            None => Egresses::new(proxy, watch),
        };
        #[cfg(not(feature = "simulator"))]
        let egresses = Egresses::new(proxy, watch);
        let versions = Arc::new(match options.version {
            None => Versions::looked_up(egresses.of(None).http(), engine.clone(), options.time_factor),
            Some(version) => Versions::fixed(version),
        });
        tasks.spawn_until_begun(versions.clone().run());
        Self(Arc::new(Shared { options, egresses, turns, versions, engine, tasks }))
    }
}

#[async_trait]
impl WhatsApp for WhatsAppWeb {
    async fn start(&self, account: &Account, signals: Signals) -> Result<Box<dyn Link>, StartError> {
        let shared = self.0.clone();
        let backoff = Arc::new(LoginBackoff::new(shared.options.time_factor));
        let egress = shared.egresses.of(account.proxy.as_ref());
        let account = account.clone();
        let mut link = WebLink { shared, account, signals, egress, backoff, running: None };
        link.run().await?;
        Ok(Box::new(link))
    }

    fn turn(&self) -> LoginTurn {
        self.0.turns.wait()
    }

    async fn forget(&self, session: &SessionId) -> Result<(), StartError> {
        Ok(self.0.engine.wipe(session).await?)
    }

    async fn is_linked(&self, session: &SessionId) -> Result<bool, StartError> {
        Ok(is_linked(self.0.engine.as_ref(), session).await?)
    }

    async fn sessions(&self) -> Result<Vec<SessionId>, StartError> {
        Ok(self.0.engine.sessions().await?)
    }

    async fn is_whole(&self, session: &SessionId) -> Result<bool, StartError> {
        Ok(is_whole(self.0.engine.as_ref(), session).await?)
    }

    fn version(&self) -> VersionReport {
        self.0.versions.report()
    }

    async fn newer_version(&self, refused: Version) -> Option<Version> {
        self.0.versions.newer_than(refused).await
    }

    async fn until_newer_version(&self, refused: Version) {
        self.0.versions.until_newer(refused).await;
    }
}

impl WebLink {
    /// Builds a client, which begins to connect.
    async fn run(&mut self) -> Result<(), StartError> {
        let Self { shared, account, signals, egress, backoff, .. } = self;
        let factor = shared.options.time_factor;
        let holds = Holds::new();
        let version = shared.versions.current().await;
        let refusal = shared.versions.refusal(version);
        let (tasks, backoff) = (shared.tasks.clone(), backoff.clone());
        let translator = Translator::new(signals.clone(), factor, tasks, holds.clone(), backoff, refusal);
        let translator = Arc::new(translator);
        let fence = Fence { session: account.session.clone(), epoch: account.epoch };
        let storage = Arc::new(DeviceStorage::open(shared.engine.clone(), fence).await?);
        let name = account.device_name.as_ref().unwrap_or(&shared.options.device_name);
        storage.hide_name_while_incomplete().await?;
        if storage.missing().await? != Some(Missing::Keys) {
            holds.skip_key_share();
        }
        let pass = egress.reach().pass();
        let dialler = WatchedDialler { egress: egress.clone(), pass, translator: translator.clone() };
        let mut builder = Bot::builder();
        if let Some(push_name) = &account.push_name
            && storage.is_nameless().await?
        {
            builder = builder.with_push_name(push_name);
        }
        let bot = builder
            .with_backend_arc(storage.clone())
            .with_transport_factory(dialler)
            .with_http_client(Requests(egress.clone()))
            .with_runtime(ScaledRuntime::new(factor, holds.clone()))
            .with_version(version.numbers())
            .with_device_props(
                DevicePropsOverride::new()
                    .with_os(name)
                    .with_platform_type(in_whatsapps_words(shared.options.platform)),
            )
            .skip_history_sync()
            .with_cache_config(keeping_no_message())
            .build()
            .await
            .map_err(|error| StartError::Failed(error.to_string()))?;
        let client = bot.client();
        translator.attach(&client);
        tell_what_is_stored(&storage, translator.clone());
        self.running = Some(RunningClient { handle: bot.spawn(), client, translator, storage, holds, pass });
        Ok(())
    }
}

fn tell_what_is_stored(storage: &DeviceStorage, translator: Arc<Translator>) {
    storage.listen(move |stored| {
        translator.signal(match stored {
            Stored::Key => Signal::KeyStored,
            Stored::Settings => Signal::SettingsStored,
        });
    });
}

fn in_whatsapps_words(platform: Platform) -> PlatformType {
    match platform {
        Platform::Chrome => PlatformType::CHROME,
        Platform::Edge => PlatformType::EDGE,
        Platform::Firefox => PlatformType::FIREFOX,
        Platform::Ie => PlatformType::IE,
        Platform::Opera => PlatformType::OPERA,
        Platform::Safari => PlatformType::SAFARI,
        Platform::Desktop => PlatformType::DESKTOP,
        Platform::Uwp => PlatformType::UWP,
    }
}

/// Messages are not passed on, so nothing ever refers to one and their secrets are not kept.
fn keeping_no_message() -> CacheConfig {
    CacheConfig {
        msg_secret_policy: MsgSecretPolicy::Disabled,
        seed_msg_secrets_from_history: false,
        ..CacheConfig::default()
    }
}

impl From<EngineError> for StartError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Fenced => Self::Fenced,
            EngineError::Storage(error) => Self::Failed(error.to_string()),
        }
    }
}

/// A running client.
struct RunningClient {
    handle: BotHandle,
    client: Arc<Client>,
    translator: Arc<Translator>,
    storage: Arc<DeviceStorage>,
    holds: Arc<Holds>,
    pass: Pass,
}

impl RunningClient {
    /// Stops the client by its own `shutdown`, which stores its state. If it does not stop in time, nothing that it
    /// still does is signalled or stored.
    async fn stop(self) {
        let storage = self.storage.clone();
        self.shut_down().await;
        storage.retire();
    }

    /// The same before another client of the same device is built: the device as this one knows it is stored, if
    /// possible.
    async fn make_room(self) {
        let (client, storage) = (self.client.clone(), self.storage.clone());
        self.shut_down().await;
        // The library does not wait for its last save, and does not repeat an earlier one that failed.
        let device = client.persistence_manager().get_device_snapshot();
        if device.pn.is_some()
            && !storage.is_fenced()
            && let Err(error) = storage.keep(&device).await
        {
            warn!(%error, "a device was not stored when its client stopped");
        }
        storage.retire();
    }

    async fn shut_down(self) {
        let Self { handle, client, translator, .. } = self;
        translator.retire();
        // The client counts what its callback queue drops. We have no callbacks, so the count stays 0; any other value
        // would mean that a signal may be missing.
        counter!(WHATSAPP_EVENTS_DROPPED).increment(client.stats().events_dropped);
        if tokio::time::timeout(STOP_LIMIT, handle.shutdown()).await.is_err() {
            // It was dropped while it waited for a silent WhatsApp, so there is no connection that could stay open.
            warn!("a client did not stop in time");
        }
    }
}

/// The client of one session, and what is needed to start it again.
struct WebLink {
    shared: Arc<Shared>,
    account: Account,
    signals: Signals,
    egress: Arc<Egress>,
    backoff: Arc<LoginBackoff>,
    /// `None` once it has stopped.
    running: Option<RunningClient>,
}

#[async_trait]
impl Link for WebLink {
    fn is_reached(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.client.is_connected())
    }

    fn is_logged_in(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.client.is_logged_in())
    }

    fn is_linked(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.client.persistence_manager().get_device_snapshot().pn.is_some())
    }

    async fn missing(&self) -> Result<Option<Missing>, StartError> {
        let Some(running) = &self.running else { return Ok(None) };
        let missing = running.storage.missing().await?;
        if missing.is_none()
            && running.client.push_name().is_empty()
            && let Some(name) = running.storage.hidden_name()
        {
            // A client that knows no name asks for all settings again at each login.
            let named = DeviceCommand::SetPushName(name.clone());
            running.client.persistence_manager().process_command(named).await;
        }
        Ok(missing)
    }

    fn fetch_again(&self) {
        let Some(running) = &self.running else { return };
        let (turn, storage, holds) =
            (self.shared.turns.wait(), running.storage.clone(), running.holds.clone());
        self.beside(async move |client, _| {
            turn.await;
            if matches!(storage.missing().await, Ok(Some(Missing::Settings))) {
                holds.skip_key_share();
            }
            // A client that is reconnecting asks by itself, and one that was stopped must not connect again.
            if client.is_connected() {
                client.reconnect_immediately().await;
            }
        });
    }

    fn answer_passkey(&self, assertion: Assertion) {
        self.passkey_step(async move |client| {
            client.send_passkey_response(in_their_words(&assertion)?).await
        });
    }

    fn confirm_passkey(&self) {
        self.passkey_step(async move |client| client.send_passkey_confirmation().await);
    }

    fn end_passkey(&self) {
        if let Some(running) = &self.running {
            running.translator.passkey_over();
        }
    }

    fn may_dial(&self) -> bool {
        let may = |running: &RunningClient| self.egress.reach().admits(running.pass).is_ok();
        self.running.as_ref().is_some_and(may)
    }

    fn back_off(&self) -> Duration {
        let failures = |running: &RunningClient| running.client.stats().reconnect_errors;
        let pause = pause_after(self.running.as_ref().map_or(0, failures));
        pause.mul_f64(1.1).div_f64(self.shared.options.time_factor)
    }

    fn turn(&self) -> LoginTurn {
        self.shared.turns.after(self.egress.reach().alive())
    }

    async fn halt(&mut self) {
        if let Some(running) = self.running.take() {
            running.make_room().await;
        }
    }

    async fn retry(&mut self) -> Result<(), StartError> {
        self.halt().await;
        self.backoff.rebuilt();
        self.run().await
    }

    async fn start_over(&mut self) -> Result<(), StartError> {
        self.halt().await;
        self.shared.engine.wipe(&self.account.session).await?;
        self.retry().await
    }

    async fn reopen(&mut self) -> Result<(), StartError> {
        let Some(running) = &self.running else { return Ok(()) };
        let device = running.client.persistence_manager().get_device_snapshot();
        Ok(running.storage.reopen(&device).await?)
    }

    async fn stopped(&mut self) -> Stopped {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        tokio::select! {
            () = running.storage.fenced() => return Stopped::Fenced,
            () = &mut running.handle => {}
        }
        self.running = None;
        Stopped::Ended
    }

    fn request_code(&self, phone_number: String) {
        self.beside(async move |client, translator| {
            if let Err(error) = client.wait_for_socket(CODE_TIMEOUT).await {
                let (method, code) = (PairingMethod::Code, PairingRefusal::InternalError);
                let detail = error.to_string();
                return translator.signal(Signal::PairingRefused { method, code, detail, retry_after: None });
            }
            // The earlier request is void; WhatsApp would refuse two at a time.
            client.cancel_pair_code().await;
            translator.expect_code_for(&phone_number);
            let options = PairCodeOptions { phone_number, ..PairCodeOptions::default() };
            if let Err(error) = client.pair_with_code(options).await {
                // Reported by an event, or replaced by a later request.
                debug!(%error, "no pairing code");
            }
        });
    }

    fn cancel_code(&self) {
        self.beside(async move |client, _| client.cancel_pair_code().await);
    }

    async fn log_out(self: Box<Self>) {
        let Some(running) = self.running else { return };
        running.translator.retire();
        if tokio::time::timeout(STOP_LIMIT, running.client.logout()).await.is_err() {
            warn!("a logout was not answered in time");
        }
        running.stop().await;
    }

    async fn stop(self: Box<Self>) {
        if let Some(running) = self.running {
            running.stop().await;
        }
    }
}

impl WebLink {
    /// Calls the client for a step of the passkey; a refusal comes as a signal.
    fn passkey_step<F>(&self, step: impl FnOnce(Arc<Client>) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), PasskeyError>> + Send,
    {
        self.beside(async move |client, translator| {
            if let Err(error) = step(client).await {
                translator.signal(passkey_refused(&error.to_string()));
            }
        });
    }

    /// Does something with the client that may take long while WhatsApp cannot be reached. A stop does not wait for it.
    fn beside<F>(&self, work: impl FnOnce(Arc<Client>, Arc<Translator>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(running) = &self.running else { return };
        let work = work(running.client.clone(), running.translator.clone());
        self.shared.tasks.spawn_until_begun(work.in_current_span());
    }
}

/// The assertion with exactly the fields that WhatsApp knows.
fn in_their_words(assertion: &Assertion) -> Result<passkey::Assertion, PasskeyError> {
    let bytes = |text: &str| {
        let decoded = URL_SAFE_NO_PAD.decode(text);
        decoded.map_err(|_| PasskeyError::Backend("the passkey's answer is not base64url".into()))
    };
    let credential_id = bytes(&assertion.id)?;
    let user_handle = assertion.user_handle.as_deref().map(bytes).transpose()?;
    let assertion_json = passkey::build_webauthn_assertion_json(
        &credential_id,
        &bytes(&assertion.client_data_json)?,
        &bytes(&assertion.authenticator_data)?,
        &bytes(&assertion.signature)?,
        user_handle.as_deref(),
    );
    Ok(passkey::Assertion { assertion_json, credential_id })
}

/// Makes the HTTPS requests of one client through its way out.
struct Requests(Arc<Egress>);

#[async_trait]
impl HttpClient for Requests {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        self.0.http().execute(request).await
    }
}
