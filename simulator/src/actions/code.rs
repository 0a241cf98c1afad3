//! A phone enters a pairing code; and the refusal of requests for one.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::ActionError;
use super::link::{Claimed, LinkError, Linker, claim, link};
use super::passkey::{Passkey, ask};
use crate::phone::{CodeEntry, Phone};
use crate::server::Shared;
use crate::simulator::Simulator;
use crate::state::{ClientId, LinkCode, Order, Role};

/// The client derives a key from the code first, which takes more than a second in a debug build.
const KEY_BUNDLE: Duration = Duration::from_secs(20);

/// A phone enters a code.
#[derive(Clone, Default)]
pub struct EnterCode {
    /// The number for which the client asked for the code.
    pub phone: String,
    /// Eight characters, with or without a dash.
    pub code: String,
    /// The account's push name. Default: the one it has, or "Ada".
    pub push_name: Option<String>,
}

impl Simulator {
    /// A phone enters a pairing code and links the client that shows it. Returns the device's JID once it has signed.
    ///
    /// # Errors
    /// See [`LinkError`]; after `WrongCode` the code can be entered again, three times in all.
    pub async fn enter_code(&self, enter: EnterCode) -> Result<String, LinkError> {
        self.shared.enter_code(enter).await
    }

    /// A phone enters a pairing code, and its account then requires a passkey. Otherwise as
    /// [`Simulator::scan_with_passkey`]; after `Refuse` the code can be entered again.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn enter_code_with_passkey(
        &self,
        enter: EnterCode,
        passkey: Passkey,
    ) -> Result<String, LinkError> {
        self.shared.enter_code_with_passkey(enter, passkey).await
    }

    /// The next request for a pairing code is refused with this error: 400, 403, 429, 452 or 500.
    ///
    /// # Errors
    /// [`ActionError::CodeError`].
    pub fn refuse_code(&self, error: u16) -> Result<(), ActionError> {
        self.shared.refuse_code(error)
    }
}

impl Shared {
    pub(crate) async fn enter_code(&self, enter: EnterCode) -> Result<String, LinkError> {
        let (client, linker, identity, adv_secret) = self.entered(enter).await?;
        link(self, client, linker, identity, adv_secret).await
    }

    pub(crate) async fn enter_code_with_passkey(
        &self,
        enter: EnterCode,
        passkey: Passkey,
    ) -> Result<String, LinkError> {
        // The secret of the code is not used: the passkey step makes another.
        let (client, linker, _, _) = self.entered(enter).await?;
        ask(&mut self.shelf.world(), client, linker, passkey)
    }

    /// The result of a right code: its client, the phone, the device's identity and the secret that follows from the
    /// code.
    async fn entered(&self, enter: EnterCode) -> Result<(ClientId, Linker, [u8; 32], [u8; 32]), LinkError> {
        let linker = Linker::new(Some(&enter.phone), enter.push_name)?;
        let number = linker.number.clone();
        let client = claim(&mut self.shelf.world(), |waiting| {
            waiting.code.as_ref().is_some_and(|code| code.is_for(number.as_deref()))
        })?;
        // The HTTP caller may hang up in the middle, so the work runs as a task of its own.
        let claimed = Claimed::new(self, client);
        let (identity, adv_secret) = self.exchange(client, &linker, enter.code).await?;
        claimed.keep();
        Ok((client, linker, identity, adv_secret))
    }

    /// The device's identity, and the secret under which the phone vouches for it.
    async fn exchange(
        &self,
        client: ClientId,
        linker: &Linker,
        code: String,
    ) -> Result<([u8; 32], [u8; 32]), LinkError> {
        let (identity, shown, account) = self.code_of(client, linker)?;
        let code: String =
            code.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
        let wrapped = shown.wrapped;
        let entry = spawn_blocking(move || CodeEntry::new(&code, &wrapped)).await;
        let entry = entry.map_err(|error| LinkError::Phone(error.to_string()))?;
        let entry = entry.map_err(|_| LinkError::WrongCode)?;
        let (bundle, sent) = oneshot::channel();
        let hello = Order::PrimaryHello {
            wrapped: entry.wrapped,
            identity: account,
            reference: shown.reference,
            bundle,
        };
        if !self.shelf.world().order(client, hello) {
            return Err(LinkError::Gone);
        }
        let sealed = match timeout(KEY_BUNDLE, sent).await {
            Ok(Ok(sealed)) => sealed,
            Ok(Err(_)) | Err(_) => return Err(LinkError::Gone),
        };
        let mut world = self.shelf.world();
        let phone =
            linker.number.as_ref().and_then(|number| world.phones.get_mut(number)).ok_or(LinkError::Gone)?;
        let adv_secret =
            phone.open_key_bundle(&entry, &identity, &sealed).map_err(|_| LinkError::WrongCode)?;
        Ok((identity, adv_secret))
    }

    /// What the client asked for, its identity, and the identity of the account.
    fn code_of(
        &self,
        client: ClientId,
        linker: &Linker,
    ) -> Result<([u8; 32], LinkCode, [u8; 32]), LinkError> {
        let mut world = self.shelf.world();
        let account = Linker { number: linker.number.clone(), push_name: None }.phone(&mut world).1;
        let account = Phone::identity(account);
        let Some(Role::Waiting(waiting)) = world.clients.get_mut(&client).map(|client| &mut client.role)
        else {
            return Err(LinkError::Gone);
        };
        let code = waiting.code.as_mut().ok_or(LinkError::NotWaiting)?;
        code.entered += 1;
        Ok((waiting.registration.identity, code.clone(), account))
    }

    pub(crate) fn refuse_code(&self, error: u16) -> Result<(), ActionError> {
        let text = known_refusal(error).ok_or(ActionError::CodeError)?;
        self.shelf.world().code_refusals.push_back((error, text));
        Ok(())
    }
}

/// The text that WhatsApp pairs with the code of a refused pairing code; the client ignores a code without its text.
/// Source: `wacore` 0.7.0 `pair_code.rs` (`PairCodeRejection`).
fn known_refusal(code: u16) -> Option<&'static str> {
    Some(match code {
        400 => "bad-request",
        403 => "forbidden",
        429 => "rate-overlimit",
        452 => "feature-not-available",
        500 => "internal-server-error",
        _ => return None,
    })
}
