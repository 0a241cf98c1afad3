//! What every client meets after its handshake and before it is a login or a registration: the rules that hold for all.

use super::Shared;
use crate::noise::Hello;
use crate::state::{AttemptKind, Failure};

/// Why a client is turned away.
pub(super) enum Refusal {
    Failure(Failure),
    StreamError(u16),
}

/// Notes the try, and accepts or refuses the client.
pub(super) fn pass(shared: &Shared, hello: &Hello) -> Result<(), Refusal> {
    let mut world = shared.shelf.world();
    let login = hello.payload.username.map(|_| hello.claimed_jid().to_string());
    let kind = if login.is_some() { AttemptKind::Login } else { AttemptKind::Registration };
    world.attempts.note(kind);
    if let Some(code) = world.outages.meets(login.as_deref()) {
        return Err(Refusal::StreamError(code));
    }
    if login.is_some() && world.attempts.throttles() {
        return Err(Refusal::StreamError(429));
    }
    match world.versions.refuses(&hello.payload) {
        true => Err(Refusal::Failure(Failure::of(405))),
        false => Ok(()),
    }
}
