//! Which builds WhatsApp lets in, and what a look-up of the newest finds.

use crate::server::Shared;
use crate::simulator::Simulator;
use crate::state::Latest;

/// New rules about versions. What is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Logins and registrations that claim less than `2.3000.<min>` are refused with 405; 0 lets every build in.
    pub min: Option<u32>,
    /// What `GET /sw.js` answers.
    pub latest: Option<Latest>,
    /// Unix seconds: each login is told that its build expires then; 0 says nothing.
    pub expires: Option<u64>,
}

impl Simulator {
    /// Changes the rules about versions. They are applied at the next login or registration: nobody who is connected is
    /// disconnected (see [`Simulator::drop_connections`]).
    pub fn version(&self, version: Version) {
        self.shared.version(version);
    }
}

impl Shared {
    pub(crate) fn version(&self, version: Version) {
        let rules = &mut self.shelf.world().versions;
        rules.min = version.min.unwrap_or(rules.min);
        rules.latest = version.latest.unwrap_or(rules.latest);
        rules.expires = version.expires.unwrap_or(rules.expires);
    }
}
