//! Which builds of WhatsApp Web are let in, and what a look-up of the newest one finds. `server::gate` and `server::web` ask.

use waproto::whatsapp::ClientPayload;

/// What a look-up finds before a test says otherwise: newer than the build that the client of 0.7.0 carries.
const LATEST: u32 = 1_050_000_000;
/// Builds are numbered below this: `2.3000.N`.
const LINE: (u32, u32) = (2, 3000);

/// What `GET /sw.js` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latest {
    /// The newest build is `2.3000.N`.
    Build(u32),
    /// It refuses the request with 400.
    Broken,
    /// It never answers.
    Silent,
}

/// The rules about versions, and how often each was met.
pub(crate) struct Versions {
    /// Builds below `2.3000.<min>` are refused; 0: none is.
    pub(crate) min: u32,
    pub(crate) latest: Latest,
    /// Unix seconds at which the client's build is said to expire; 0: nothing is said.
    pub(crate) expires: u64,
    /// Requests for `sw.js`.
    pub(crate) lookups: u64,
    /// Clients that were refused with 405.
    pub(crate) outdated: u64,
}

impl Default for Versions {
    fn default() -> Self {
        Self { min: 0, latest: Latest::Build(LATEST), expires: 0, lookups: 0, outdated: 0 }
    }
}

impl Versions {
    /// Whether a client with this payload is to be refused; counts it if so.
    pub(crate) fn refuses(&mut self, payload: &ClientPayload) -> bool {
        let claimed = payload.user_agent.as_option().and_then(|agent| agent.app_version.as_option());
        let part = |part: Option<u32>| part.unwrap_or_default();
        let claimed =
            claimed.map(|version| (part(version.primary), part(version.secondary), part(version.tertiary)));
        let refused = self.min > 0 && claimed.unwrap_or_default() < (LINE.0, LINE.1, self.min);
        self.outdated += u64::from(refused);
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::Versions;
    use buffa::MessageField;
    use waproto::whatsapp::ClientPayload;
    use waproto::whatsapp::client_payload::{UserAgent, user_agent::AppVersion};

    fn payload(tertiary: u32) -> ClientPayload {
        let version = AppVersion {
            primary: Some(2),
            secondary: Some(3000),
            tertiary: Some(tertiary),
            ..AppVersion::default()
        };
        let agent = UserAgent { app_version: MessageField::some(version), ..UserAgent::default() };
        ClientPayload { user_agent: MessageField::some(agent), ..ClientPayload::default() }
    }

    #[test]
    fn only_builds_below_the_lowest_are_refused() {
        let mut versions = Versions::default();
        assert!(!versions.refuses(&payload(1)));
        versions.min = 10;
        assert!(versions.refuses(&payload(9)) && !versions.refuses(&payload(10)));
        assert!(versions.refuses(&ClientPayload::default()));
        assert_eq!(versions.outdated, 2);
    }
}
