//! What WhatsApp's server does to connections in the course of a day.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{ActionError, known};
use crate::server::Shared;
use crate::simulator::Simulator;
use crate::state::{ClientId, Happening, Order, World};

/// How long a client may take for its pong.
const PONG: Duration = Duration::from_secs(15);

/// What happens to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `<xmlstreamend/>`, then the end of the connection: it is recycled.
    Recycle,
    /// `<stream:error>` with an `<ack/>` inside, then the end.
    AckError,
    /// The connection is kept and read, and nothing is said any more: for `seconds`, or for ever.
    Silent,
    /// `<stream:error code="429">`, then the end; logins within `seconds` get the same.
    Throttle,
    /// `<stream:error code="503">`; the server does not close, and says nothing more. Logins within `seconds` get the same.
    Unavailable,
    /// The server asks for a pong.
    Ping,
}

/// Something that happens to the streams of a device, or of everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The device; `None` means every client that is connected, paired or not.
    pub jid: Option<String>,
    /// What happens to the stream.
    pub what: What,
    /// For `Silent`, how long (default: for ever); for `Throttle` and `Unavailable`, how long logins (and, without a `jid`,
    /// registrations) get the same (default: not at all). [`Simulator::resume`] ends that earlier.
    pub seconds: Option<u64>,
}

/// How many connections it affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Streamed {
    /// Connections it happened to.
    pub told: usize,
    /// Of those, how many answered a ping within 15 s.
    pub answered: usize,
}

impl Simulator {
    /// Does something to streams. Returns at once, except for `Ping`, which waits for the pongs.
    ///
    /// # Errors
    /// [`ActionError::Unknown`]; [`ActionError::Offline`] when the device is not connected and no later login is meant.
    pub async fn stream(&self, stream: Stream) -> Result<Streamed, ActionError> {
        self.shared.stream(stream).await
    }
}

impl Shared {
    pub(crate) async fn stream(&self, stream: Stream) -> Result<Streamed, ActionError> {
        let (told, pongs) = begin(&mut self.shelf.world(), stream)?;
        let mut answered = 0;
        let patience = tokio::time::Instant::now() + PONG;
        for pong in pongs {
            let left = patience.saturating_duration_since(tokio::time::Instant::now());
            answered += usize::from(timeout(left, pong).await.is_ok_and(|pong| pong.is_ok()));
        }
        Ok(Streamed { told, answered })
    }
}

/// Tells the connections, and remembers what later logins meet.
fn begin(world: &mut World, stream: Stream) -> Result<(usize, Vec<oneshot::Receiver<()>>), ActionError> {
    let Stream { jid, what, seconds } = stream;
    if let Some(jid) = &jid {
        known(world, jid)?;
    }
    let seconds = seconds.map(Duration::from_secs);
    let code = match what {
        What::Throttle => Some(429),
        What::Unavailable => Some(503),
        _ => None,
    };
    let lasts = code.zip(seconds.filter(|time| !time.is_zero()));
    if let Some((code, time)) = lasts {
        world.outages.begin(jid.clone(), code, Instant::now() + time);
    }
    let clients: Vec<ClientId> = match &jid {
        Some(jid) => world.online(jid).map(|(id, _)| id).collect(),
        None => world.clients.keys().copied().collect(),
    };
    let mut pongs = Vec::new();
    let told = clients.iter().filter(|id| {
        let happening = match what {
            What::Recycle => Happening::Recycle,
            What::AckError => Happening::AckError,
            What::Silent => Happening::Silence(seconds),
            What::Throttle => Happening::Throttle,
            What::Unavailable => Happening::Unavailable,
            What::Ping => {
                let (answer, pong) = oneshot::channel();
                pongs.push(pong);
                Happening::Ping(answer)
            }
        };
        world.order(**id, Order::Happen(happening))
    });
    let told = told.count();
    match jid {
        Some(jid) if told == 0 && lasts.is_none() => Err(ActionError::Offline(jid)),
        _ => Ok((told, pongs)),
    }
}
