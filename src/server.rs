//! Puts the pieces together: the only file that names the concrete stores and the client.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tracing::{error, info, warn};

use crate::bus::local::{self, LocalBus};
use crate::config::Config;
use crate::http::listener::PatientListener;
use crate::http::{self, App};
use crate::ledger::sqlite::{self as ledger, SqliteLedger};
use crate::ledger::{LedgerError, Limits};
use crate::session::janitor::{self, Ages};
use crate::session::registry::{Parts, Registry, Timers};
use crate::shutdown::Shutdown;
use crate::storage::folder::{FolderError, FolderLock};
use crate::storage::sqlite::{Migration, OpenError, Sqlite};
use crate::whatsapp::client::{Options, WhatsAppWeb};
use crate::whatsapp::store::sqlite::{self as device, SqliteEngine};

/// The schema, over all modules that have tables. A step that was released is never changed.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: device::SCHEMA },
    Migration { version: 2, sql: ledger::SCHEMA },
    Migration { version: 3, sql: local::SCHEMA },
];

/// How long link tasks may take to stop: a silent WhatsApp must not hold a deploy.
const LINK_GRACE: Duration = Duration::from_secs(10);

/// How long streams may take to say goodbye.
const STREAM_GRACE: Duration = Duration::from_secs(5);

/// Why a server does not start, or does not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// See [`FolderError`].
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// See [`OpenError`].
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The records cannot be read.
    #[error("cannot read the stored sessions: {0}")]
    Read(#[from] LedgerError),
    /// Sockets.
    #[error("serving failed: {0}")]
    Serve(#[from] std::io::Error),
    /// The warning before says what.
    #[error("something still ran at the end of its grace period")]
    Unfinished,
}

/// Serves until `stop` begins, then hands over and says goodbye.
///
/// # Errors
/// See [`ServerError`].
pub async fn run(config: Config, listener: TcpListener, stop: Shutdown) -> Result<(), ServerError> {
    let _lock = FolderLock::take(&config.data_dir)?;
    let sqlite = open(&config.data_dir).await?;
    let result = serve(config, listener, stop, &sqlite).await;
    if let Err(error) = sqlite.close().await {
        error!(%error, "the database was not closed well");
    }
    result
}

/// Opening reads the whole file once, and blocks.
async fn open(data_dir: &Path) -> Result<Sqlite, ServerError> {
    let path = data_dir.join("qrcast.sqlite");
    let opened = tokio::task::spawn_blocking(move || Sqlite::open(&path, MIGRATIONS)).await;
    Ok(opened.map_err(std::io::Error::other)??)
}

async fn serve(
    config: Config,
    listener: TcpListener,
    stop: Shutdown,
    sqlite: &Sqlite,
) -> Result<(), ServerError> {
    let links = Shutdown::new();
    let streams = Shutdown::new();
    let registry = Arc::new(Registry::open(parts(&config, sqlite, &links)).await?);
    let ages =
        Ages { every: config.cleanup_interval, unlinked: config.unlinked_ttl, ended: config.ended_ttl };
    let listener = PatientListener::new(listener, config.slow_viewer);
    let app = App::new(registry.clone(), config, links.clone(), streams.clone());
    let closing = streams.clone();
    let serve =
        axum::serve(listener, http::router(app)).with_graceful_shutdown(async move { closing.begun().await });
    let serve = serve.into_future();
    tokio::pin!(serve);
    // Requests are answered while the stored sessions come back.
    let starting = registry.clone();
    links.spawn(async move { starting.start_all().await });
    links.spawn(janitor::run(registry, ages, links.clone()));
    tokio::select! {
        result = &mut serve => return Ok(result?),
        () = stop.begun() => info!("stopping"),
    }
    // Viewers hear of the hand-over first, so they still need the server that tells them.
    links.begin();
    let left = tokio::select! {
        result = &mut serve => return Ok(result?),
        left = links.finished(LINK_GRACE) => left,
    };
    streams.begin();
    // Connections without a request end at once; the streams watch `streams` themselves.
    let served = tokio::time::timeout(STREAM_GRACE, serve).await.is_ok();
    let watching = streams.finished(STREAM_GRACE).await;
    if left + watching > 0 || !served {
        warn!(links = left, streams = watching, served, "still running at the end of the grace period");
        return Err(ServerError::Unfinished);
    }
    info!("stopped");
    Ok(())
}

fn parts(config: &Config, sqlite: &Sqlite, links: &Shutdown) -> Parts {
    let options = Options {
        device_name: config.device_name.clone(),
        version: config.whatsapp_version,
        #[cfg(feature = "simulator")]
        url: config.whatsapp_url.clone(),
        time_factor: config.time_factor(),
    };
    let engine = Arc::new(SqliteEngine::new(sqlite.clone()));
    Parts {
        bus: Arc::new(LocalBus::new(sqlite.clone(), config.history_events)),
        ledger: Arc::new(SqliteLedger::new(sqlite.clone())),
        whatsapp: Arc::new(WhatsAppWeb::new(options, engine, links.clone())),
        timers: Timers::faster(config.time_factor()),
        limits: Limits { all: config.max_sessions, user: config.max_sessions_per_user },
        history: config.history_events,
        shutdown: links.clone(),
    }
}
