//! A phone scans a QR, of an account without or with a passkey.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::link::{LinkError, Linker, claim, link};
use super::passkey::{Passkey, ask};
use crate::server::Shared;
use crate::simulator::Simulator;
use crate::state::Waiting;

/// A phone scans a QR.
#[derive(Clone, Default)]
pub struct Scan {
    /// The text of the QR, as the client shows it.
    pub qr: String,
    /// The phone's number, digits with an optional `+`. Default: a fresh made-up one.
    pub phone: Option<String>,
    /// The account's push name. Default: the one it has, or "Ada".
    pub push_name: Option<String>,
}

impl Simulator {
    /// A phone scans `scan.qr` and links the client that shows it. Returns the device's JID once it has signed.
    ///
    /// # Errors
    /// See [`LinkError`]; after `Refused` the same QR can be scanned again.
    pub async fn scan(&self, scan: Scan) -> Result<String, LinkError> {
        self.scanning(scan).await
    }

    /// [`Simulator::scan`] as a future that can be spawned: it does not borrow the simulator.
    pub fn scanning(&self, scan: Scan) -> impl Future<Output = Result<String, LinkError>> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move { shared.scan(scan).await }
    }

    /// A phone scans `scan.qr`, and its account requires a passkey first. Returns the JID that the device is going to
    /// have. The progress is in [`crate::State::passkey`], and after `Refuse` the QR can be scanned again.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn scan_with_passkey(&self, scan: Scan, passkey: Passkey) -> Result<String, LinkError> {
        self.shared.scan_with_passkey(scan, passkey)
    }
}

impl Shared {
    pub(crate) async fn scan(&self, scan: Scan) -> Result<String, LinkError> {
        let linker = Linker::new(scan.phone.as_deref(), scan.push_name)?;
        let qr = Qr::read(&scan.qr).ok_or(LinkError::NotWaiting)?;
        let client = claim(&mut self.shelf.world(), |waiting| qr.is_of(waiting))?;
        let refreshed = self.shelf.world().refreshed(client);
        let linked = link(self, client, linker, qr.identity, qr.adv_secret).await;
        match linked {
            // Only the client knows its secret. One that was told to renew it refuses the QR from before.
            Err(LinkError::Refused { text, .. }) if refreshed && text == "hmac-mismatch" => {
                Err(LinkError::NotWaiting)
            }
            linked => linked,
        }
    }

    pub(crate) fn scan_with_passkey(&self, scan: Scan, passkey: Passkey) -> Result<String, LinkError> {
        let linker = Linker::new(scan.phone.as_deref(), scan.push_name)?;
        let qr = Qr::read(&scan.qr).ok_or(LinkError::NotWaiting)?;
        let mut world = self.shelf.world();
        let client = claim(&mut world, |waiting| qr.is_of(waiting))?;
        ask(&mut world, client, linker, passkey)
    }
}

/// A QR as a phone reads it: `ref,noise,identity,adv secret,client type`.
/// Source: `wacore` 0.7.0 `pair.rs` (`make_qr_data`).
struct Qr {
    reference: String,
    noise_public: [u8; 32],
    identity: [u8; 32],
    adv_secret: [u8; 32],
}

impl Qr {
    fn is_of(&self, waiting: &Waiting) -> bool {
        waiting.registration.noise_public == self.noise_public && waiting.refs.contains(&self.reference)
    }

    fn read(text: &str) -> Option<Self> {
        let mut fields = text.trim().split(',');
        let reference = fields.next()?.to_owned();
        let mut key = || STANDARD.decode(fields.next()?).ok()?.try_into().ok();
        Some(Self { reference, noise_public: key()?, identity: key()?, adv_secret: key()? })
    }
}

#[cfg(test)]
mod tests {
    use super::Qr;

    #[test]
    fn a_qr_without_its_keys_is_not_read() {
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert!(Qr::read(&format!("2@r,{key},{key},{key},9")).is_some());
        assert!(Qr::read(&format!("2@r,{key},{key}")).is_none());
        assert!(Qr::read("2@r,x,y,z,9").is_none());
    }
}
