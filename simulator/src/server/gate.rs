//! What every client meets after its handshake and before it is a login or a registration: the rules that hold for all.

use wacore_binary::Node;

use super::stanza;
use crate::noise::Hello;
use crate::server::Shared;
use crate::state::Failure;

/// The stanza with which this client is turned away; `None` lets it go on.
pub(super) fn refusal(shared: &Shared, hello: &Hello) -> Option<Node> {
    let outdated = shared.shelf.world().versions.refuses(&hello.payload);
    outdated.then(|| stanza::failure(&Failure::of(405)))
}
