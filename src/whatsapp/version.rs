//! Which version of WhatsApp Web the clients claim to be: looked up once per process and day, shared by all sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tracing::{info, warn};
use whatsapp_rust::http::HttpClient;
use whatsapp_rust::version::fetch_latest_app_version;

/// WhatsApp Web's version, `2.3000.<revision>`.
pub(super) type Version = (u32, u32, u32);

/// The last one known when this was built: what whatsapp-rust 0.7.0 itself falls back on.
const LAST_KNOWN: Version = (2, 3000, 1_042_742_319);

/// WhatsApp refuses old versions with 405 after some weeks; a day is fresh enough.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// After a failed look-up the last known one serves this long.
const RETRY: Duration = Duration::from_secs(600);

/// How long a start waits for the look-up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the version comes from.
pub(super) enum Versions {
    /// Told by the operator, or of no matter to the other side.
    Fixed(Version),
    /// Looked up at WhatsApp.
    LookedUp(Arc<dyn HttpClient>, Mutex<Known>),
}

/// What the last look-up said, and until when it holds.
pub(super) struct Known {
    version: Version,
    until: Option<Instant>,
}

impl Versions {
    pub(super) fn fixed(version: Version) -> Self {
        Self::Fixed(version)
    }

    /// For a WhatsApp that takes any.
    #[cfg(feature = "simulator")]
    pub(super) fn any() -> Self {
        Self::Fixed(LAST_KNOWN)
    }

    pub(super) fn looked_up(http: Arc<dyn HttpClient>) -> Self {
        Self::LookedUp(http, Mutex::new(Known { version: LAST_KNOWN, until: None }))
    }

    /// The version of today. The first start of a day looks it up, others that come meanwhile wait for it.
    pub(super) async fn current(&self) -> Version {
        let (http, known) = match self {
            Self::Fixed(version) => return *version,
            Self::LookedUp(http, known) => (http, known),
        };
        let mut known = known.lock().await;
        if known.until.is_none_or(|until| until <= Instant::now()) {
            known.look_up(http).await;
        }
        known.version
    }
}

impl Known {
    async fn look_up(&mut self, http: &Arc<dyn HttpClient>) {
        let found = tokio::time::timeout(PATIENCE, fetch_latest_app_version(http)).await;
        let failed = match found {
            Ok(Ok(version)) => {
                info!(?version, "version of WhatsApp Web");
                self.version = version;
                self.until = Some(Instant::now() + FRESH);
                return;
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "no answer".to_owned(),
        };
        warn!(error = failed, version = ?self.version, "version of WhatsApp Web not found, using the last known one");
        self.until = Some(Instant::now() + RETRY);
    }
}
