//! Stream errors that logins meet for a while, and what a test can make happen to a stream that exists.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Something that happens to a connection. `server::stream` does it.
pub(crate) enum Happening {
    /// The server ends the stream, as it does several times a day.
    Recycle,
    /// It ends the stream because a stanza was never acknowledged.
    AckError,
    /// It keeps reading and sends nothing, for this long; `None` means for ever.
    Silence(Option<Duration>),
    /// `<stream:error>` 429, then the end of the stream.
    Throttle,
    /// `<stream:error>` 503, without an end of the stream.
    Unavailable,
    /// It asks for a pong, which the sender is told of.
    Ping(oneshot::Sender<()>),
}

/// The stream errors that last, newest last.
#[derive(Default)]
pub(crate) struct Outages(Vec<Outage>);

struct Outage {
    /// `None`: everybody, registrations too.
    jid: Option<String>,
    code: u16,
    until: Instant,
}

impl Outages {
    /// Replaces one with the same code for the same device.
    pub(crate) fn begin(&mut self, jid: Option<String>, code: u16, until: Instant) {
        self.0.retain(|outage| outage.code != code || outage.jid != jid);
        self.0.push(Outage { jid, code, until });
    }

    /// The code that a login of `jid` (`None`: a registration) meets now, if any.
    pub(crate) fn meets(&mut self, jid: Option<&str>) -> Option<u16> {
        let now = Instant::now();
        self.0.retain(|outage| outage.until > now);
        let met = |outage: &&Outage| outage.jid.is_none() || outage.jid.as_deref() == jid;
        self.0.iter().rev().find(met).map(|outage| outage.code)
    }

    pub(crate) fn end(&mut self) {
        self.0.clear();
    }
}
