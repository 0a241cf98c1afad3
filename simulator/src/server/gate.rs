//! What every client meets after its handshake and before it is a login or a registration: the rules that hold for all.

use wacore_binary::Node;

use super::{Shared, stanza};
use crate::noise::Hello;
use crate::state::{AttemptKind, Failure};

/// The stanza with which this client is turned away; `None` lets it go on.
pub(super) fn refusal(shared: &Shared, hello: &Hello) -> Option<Node> {
    let mut world = shared.shelf.world();
    let login = hello.payload.username.is_some();
    world.attempts.note(if login { AttemptKind::Login } else { AttemptKind::Registration });
    if login && world.attempts.throttles() {
        return Some(stanza::stream_error(429));
    }
    world.versions.refuses(&hello.payload).then(|| stanza::failure(&Failure::of(405)))
}
