//! What the network between clients and WhatsApp is like, the server's clock, and how often clients tried.

use crate::server::Shared;
use crate::simulator::{Simulator, StartError};
use crate::state::Attempt;

/// New conditions. What is `None` stays as it is; 0 and `false` are the friendly default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Milliseconds that everything is on its way, in each direction: frames, upgrades, `sw.js`, media. The control API is
    /// not delayed. A round trip takes twice as long.
    pub delay_ms: Option<u64>,
    /// Frames from 128 bytes on are compressed.
    pub compress: Option<bool>,
    /// Frames end in another WebSocket message than they began in (the ServerHello always does), and a message may hold
    /// several frames. The ServerHello shares none: a client of 0.7.0 loses what follows it in the same message.
    pub split: Option<bool>,
    /// Logins above this rate get `<stream:error code="429">` and are closed. As many may come at once.
    pub logins_per_second: Option<u32>,
    /// Seconds by which the server's clock is ahead: `t` of every stanza, validity of its certificates, HTTP `Date`.
    pub clock_offset_seconds: Option<i64>,
}

impl Simulator {
    /// Changes the conditions, for connections that exist too.
    ///
    /// # Errors
    /// [`StartError::Chain`] when the certificates for another clock cannot be signed.
    pub fn network(&self, network: Network) -> Result<(), StartError> {
        self.shared.network(network)
    }

    /// Plays an outage in which nobody can be reached: every connection is reset at its first word, before the upgrade, and
    /// those that exist are dropped. Only the control API keeps working. [`Simulator::resume`] ends it.
    pub fn refuse(&self) {
        self.shared.set_outage(true, true);
    }

    /// What clients tried, oldest first; the last 200,000.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.shared.shelf.world().attempts.all()
    }
}

impl Shared {
    pub(crate) fn network(&self, network: Network) -> Result<(), StartError> {
        let conditions = &self.conditions;
        if let Some(offset) =
            network.clock_offset_seconds.filter(|offset| *offset != conditions.clock_offset())
        {
            let identity = self.identity().at_offset(offset);
            self.set_identity(identity.map_err(|error| StartError::Chain(error.to_string()))?);
            conditions.set_clock_offset(offset);
        }
        if let Some(delay) = network.delay_ms {
            conditions.set_delay_ms(delay);
        }
        if let Some(compress) = network.compress {
            conditions.set_compress(compress);
        }
        if let Some(split) = network.split {
            conditions.set_split(split);
        }
        if let Some(rate) = network.logins_per_second {
            self.shelf.world().attempts.limit(rate);
        }
        Ok(())
    }

    /// `refuse` without `paused` does not happen: who is refused is not answered either.
    pub(crate) fn set_outage(&self, paused: bool, refuse: bool) {
        {
            let mut world = self.shelf.world();
            world.paused = paused;
            if !paused {
                world.outages.end();
            }
            self.conditions.set_refuse(refuse);
            if refuse {
                world.clients.values().for_each(|client| client.cut.cancel());
            }
        }
        self.paused.send_replace(paused);
    }
}
