//! The feed: the events of all sessions of the deployment, for those who watch all of them here.
//!
//! The logs are followed only while somebody does. What was missed is told to nobody later: the viewers are sent away, and read
//! the list of sessions when they are back.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::event::Event;
use crate::log::{Appended, EventLog};
use crate::session::{Audience, Error, Fanout, Listener, Seat};
use crate::shutdown::Shutdown;

/// How many events the fan-out may be behind: thousands come at once when a replica hands over what it runs.
const LIVE_EVENTS: usize = 1024;

/// How long a viewer waits at most until the logs are followed.
const OPENS_WITHIN: Duration = Duration::from_secs(2);

/// Who follows all sessions here.
pub(crate) struct Feed {
    log: Arc<dyn EventLog>,
    /// Ends what streams depend on.
    streams: Shutdown,
    audience: Audience,
    /// Whether every event is heard from now on. The fan-out that runs now says so.
    live: Mutex<watch::Receiver<bool>>,
}

/// Sits there for a viewer whose stream is being opened.
struct Opening;

impl Listener for Opening {
    fn hears(&self, _: &Arc<Event>) {}

    fn has_missed(&self) {}
}

impl Feed {
    /// Nobody follows it yet.
    pub(crate) fn new(log: Arc<dyn EventLog>, streams: Shutdown) -> Self {
        let live = Mutex::new(watch::Sender::new(false).subscribe());
        Self { log, streams, audience: Audience::new(LIVE_EVENTS), live }
    }

    /// Waits until every event of the deployment is heard here. That lasts as long as the seat is kept, or another one.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn open(&self) -> Result<Seat, Error> {
        let (seat, mut live) = self.join(Arc::new(Opening));
        let is_live = timeout(OPENS_WITHIN, live.wait_for(|live| *live)).await;
        if matches!(is_live, Ok(Ok(_))) { Ok(seat) } else { Err(Error::Away) }
    }

    /// Tells this listener every event of the deployment from now on, or that some were missed.
    pub(crate) fn follow(&self, listener: Arc<dyn Listener>) -> Seat {
        self.join(listener).0
    }

    fn join(&self, listener: Arc<dyn Listener>) -> (Seat, watch::Receiver<bool>) {
        let mut live = self.live.lock();
        let (seat, fanout) = self.audience.join(listener);
        if let Some(fanout) = fanout {
            let (says, hears) = watch::channel(false);
            let appended = self.log.follow_all();
            self.streams.spawn_until_begun(run(appended, self.audience.clone(), fanout, says));
            *live = hears;
        }
        (seat, live.clone())
    }
}

/// Offers what is appended anywhere to the audience, until nobody is left of it.
async fn run(
    mut appended: BoxStream<'static, Appended>,
    audience: Audience,
    fanout: Fanout,
    live: watch::Sender<bool>,
) {
    let told = async {
        while let Some(next) = appended.next().await {
            match next {
                Appended::Event(event) => audience.tell(event),
                // Nobody was promised anything before the first time.
                Appended::Missed if live.send_replace(true) => audience.cut(),
                Appended::Missed => {}
            }
        }
    };
    tokio::select! {
        () = told => {}
        () = fanout.run() => {}
    }
}
