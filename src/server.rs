//! Puts the pieces together: the only file that names the concrete stores and the client.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::bus::local::LocalBus;
use crate::config::Config;
use crate::http::listener::PatientListener;
use crate::http::{self, App};
use crate::ledger::local::LocalLedger;
use crate::session::registry::{Parts, Registry, Timers};
use crate::shutdown::Shutdown;
use crate::whatsapp::client::{Options, WhatsAppWeb};

/// How long link tasks may take to stop: a silent WhatsApp must not hold a deploy.
const LINK_GRACE: Duration = Duration::from_secs(10);

/// How long streams may take to say goodbye.
const STREAM_GRACE: Duration = Duration::from_secs(5);

/// Serves until `stop` begins, then hands over and says goodbye.
///
/// # Errors
/// When something still ran at the end of its grace period: the warning before says what.
pub async fn run(config: Config, listener: TcpListener, stop: Shutdown) -> io::Result<()> {
    let links = Shutdown::new();
    let streams = Shutdown::new();
    let parts = Parts {
        bus: Arc::new(LocalBus::default()),
        ledger: Arc::new(LocalLedger::default()),
        whatsapp: Arc::new(WhatsAppWeb::new(whatsapp_options(&config), links.clone())),
        timers: Timers::faster(config.time_factor()),
        history: config.history_events,
        shutdown: links.clone(),
    };
    let listener = PatientListener::new(listener, config.slow_viewer);
    let app = App::new(Arc::new(Registry::new(parts)), config, links.clone(), streams.clone());
    let closing = streams.clone();
    let serve =
        axum::serve(listener, http::router(app)).with_graceful_shutdown(async move { closing.begun().await });
    let serve = serve.into_future();
    tokio::pin!(serve);
    tokio::select! {
        result = &mut serve => return result,
        () = stop.begun() => info!("stopping"),
    }
    // Viewers hear of the hand-over first, so they still need the server that tells them.
    links.begin();
    let left = tokio::select! {
        result = &mut serve => return result,
        left = links.finished(LINK_GRACE) => left,
    };
    streams.begin();
    // Connections without a request end at once; the streams watch `streams` themselves.
    let served = tokio::time::timeout(STREAM_GRACE, serve).await.is_ok();
    let watching = streams.finished(STREAM_GRACE).await;
    if left + watching > 0 || !served {
        warn!(links = left, streams = watching, served, "still running at the end of the grace period");
        return Err(io::Error::other("not everything was handed over"));
    }
    info!("stopped");
    Ok(())
}

fn whatsapp_options(config: &Config) -> Options {
    Options {
        device_name: config.device_name.clone(),
        version: config.whatsapp_version,
        #[cfg(feature = "simulator")]
        url: config.whatsapp_url.clone(),
        time_factor: config.time_factor(),
    }
}
