//! What a test can make happen: a phone scans or enters a code, a friend writes, a connection drops, a device is replaced,
//! logged out, refused. Methods of [`Simulator`] over those of [`Shared`]; `control` calls the latter for HTTP.

mod account;
mod code;
mod link;
mod message;
mod network;
mod noise;
mod passkey;
mod refs;
mod scan;
mod stream;
mod version;

use crate::server::Shared;
use crate::simulator::Simulator;
use crate::state::{ClientId, Failure, Order, State, World};

pub use account::{Account, AccountError, Removal};
pub use code::EnterCode;
pub use link::LinkError;
pub(crate) use message::MOST;
pub use message::{Write, WriteError, Written};
pub use network::Network;
pub use noise::{Noise, Noised};
pub use passkey::Passkey;
pub use refs::{Refresh, Refs, RefsError};
pub use scan::Scan;
pub use stream::{Stream, Streamed, What};
pub use version::Version;

/// The next logins fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fail {
    /// The device whose login fails; `None` is the next device that logs in.
    pub jid: Option<String>,
    /// WhatsApp's failure code, 400 to 599; 0 forgets the failures ordered for `jid` (all, without one), which is how those
    /// without end are ended.
    pub reason: u16,
    /// Why it is banned (402 only). Default: 101, sent to too many people.
    pub code: Option<u32>,
    /// Seconds that the ban lasts (402 only). Default: 3600.
    pub expire: Option<u64>,
    /// How many logins fail. Default: 1; 0 means all until the failure is forgotten.
    pub times: Option<u32>,
    /// The server's technical message.
    pub message: Option<String>,
    /// A link to more information.
    pub url: Option<String>,
    /// Headline of what a person is shown (`logout_message_header`, in English).
    pub header: Option<String>,
    /// The text below it (`logout_message_subtext`).
    pub subtext: Option<String>,
}

/// Why an action was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// No such device was ever linked.
    #[error("no device {0}")]
    Unknown(String),
    /// It is not logged in.
    #[error("{0} is not connected")]
    Offline(String),
    /// The phone has removed it already.
    #[error("{0} is not linked any more")]
    Unlinked(String),
    /// Not a failure code.
    #[error("reason is neither a failure code from 400 to 599 nor 0")]
    Reason,
    /// Not a code with which WhatsApp refuses a pairing code.
    #[error("error is none of 400, 403, 429, 452, 500")]
    CodeError,
}

impl Simulator {
    /// Drops the TCP connection of one device, or of every client. Returns how many were dropped.
    ///
    /// # Errors
    /// [`ActionError::Unknown`].
    pub fn drop_connections(&self, jid: Option<&str>) -> Result<usize, ActionError> {
        self.shared.drop_connections(jid)
    }

    /// Ends a device's stream with the conflict `replaced`, as if it had logged in elsewhere.
    ///
    /// # Errors
    /// [`ActionError::Unknown`], [`ActionError::Offline`].
    pub fn replace(&self, jid: &str) -> Result<(), ActionError> {
        self.shared.replace(jid)
    }

    /// The phone removes a device: its stream ends now, later logins fail with 401.
    ///
    /// # Errors
    /// [`ActionError::Unknown`], [`ActionError::Unlinked`].
    pub fn logout(&self, jid: &str) -> Result<(), ActionError> {
        self.shared.logout(jid)
    }

    /// Makes logins fail: one, unless `times` says otherwise. Asked for twice, two logins fail. Registrations are not logins.
    ///
    /// # Errors
    /// [`ActionError::Unknown`], [`ActionError::Reason`].
    pub fn fail(&self, fail: Fail) -> Result<(), ActionError> {
        self.shared.fail(fail)
    }

    /// Plays an outage: connections are accepted and kept, nothing is answered. What clients say meanwhile is read after
    /// [`Simulator::resume`], as a frozen server would.
    pub fn pause(&self) {
        self.shared.set_outage(true, false);
    }

    /// Ends every outage, and what [`Simulator::stream`] made later logins meet. A stream that fell silent stays so.
    pub fn resume(&self) {
        self.shared.set_outage(false, false);
    }

    /// A snapshot of what the outside may see.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.state()
    }
}

impl Shared {
    pub(crate) fn drop_connections(&self, jid: Option<&str>) -> Result<usize, ActionError> {
        let world = self.shelf.world();
        let clients: Vec<ClientId> = match jid {
            Some(jid) => {
                known(&world, jid)?;
                world.online(jid).map(|(id, _)| id).collect()
            }
            None => world.clients.keys().copied().collect(),
        };
        clients.iter().filter_map(|id| world.clients.get(id)).for_each(|client| client.cut.cancel());
        Ok(clients.len())
    }

    pub(crate) fn replace(&self, jid: &str) -> Result<(), ActionError> {
        let world = self.shelf.world();
        known(&world, jid)?;
        let told = world.online(jid).filter(|(id, _)| world.order(*id, Order::Replace)).count();
        if told == 0 { Err(ActionError::Offline(jid.to_owned())) } else { Ok(()) }
    }

    pub(crate) fn logout(&self, jid: &str) -> Result<(), ActionError> {
        let mut world = self.shelf.world();
        known(&world, jid)?;
        if world.devices.get(jid).is_some_and(|device| !device.linked) {
            return Err(ActionError::Unlinked(jid.to_owned()));
        }
        world.log_out(jid);
        Ok(())
    }

    pub(crate) fn fail(&self, fail: Fail) -> Result<(), ActionError> {
        if fail.reason != 0 && !(400..600).contains(&fail.reason) {
            return Err(ActionError::Reason);
        }
        let mut world = self.shelf.world();
        if let Some(jid) = &fail.jid {
            known(&world, jid)?;
        }
        if fail.reason == 0 {
            world.failures.forget(fail.jid.as_deref());
            return Ok(());
        }
        let failure = Failure {
            reason: fail.reason,
            code: fail.code.unwrap_or(101),
            expire: fail.expire.unwrap_or(3600),
            message: fail.message,
            url: fail.url,
            header: fail.header,
            subtext: fail.subtext,
        };
        world.failures.push(fail.jid, failure, fail.times.unwrap_or(1));
        Ok(())
    }

    pub(crate) fn state(&self) -> State {
        self.shelf.world().state()
    }
}

fn known(world: &World, jid: &str) -> Result<(), ActionError> {
    match world.devices.contains_key(jid) {
        true => Ok(()),
        false => Err(ActionError::Unknown(jid.to_owned())),
    }
}
