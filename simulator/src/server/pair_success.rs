//! The end of a pairing on the connection of an unpaired client, however it began: the phone's offer, and the client's
//! answer to it. `serve` and `passkey` make the offer, `pairing` hears the answer.
//!
//! Source: `whatsapp-rust` 0.7.0 `pair.rs` (`handle_pair_success`).

use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use wacore_binary::NodeRef;

use super::Shared;
use super::connection::{Connection, Flow, GO_ON};
use super::phase::{Alarm, Offered, Phase};
use super::stanza::{self, attr};
use crate::phone::Offer;
use crate::state::Refusal;

/// The client marks the coming restart as expected only after it has sent its signature; a 515 that overtakes this costs
/// it the next connection. Source: `handle_pair_success`, seen in 21 of 500 pairings without a pause, in none with 50 ms.
const BEFORE_RESTART: Duration = Duration::from_millis(60);

/// Passes a phone's offer on.
pub(super) async fn offer(
    connection: &mut Connection,
    offer: Box<Offer>,
    number: String,
    answer: oneshot::Sender<Result<(), Refusal>>,
) -> Flow {
    // Dropping `answer` tells the phone that the client has gone.
    let Phase::Pairing(pairing) = &mut connection.phase else { return GO_ON };
    let id = stanza::fresh_id();
    let node = stanza::pair_success(&id, &offer);
    pairing.offered = Some(Offered { id, offer, number, answer });
    connection.say(node).await
}

/// The client took the offer, or did not.
pub(super) async fn answered(
    connection: &mut Connection,
    offered: Offered,
    kind: &str,
    node: &NodeRef<'_>,
) -> Flow {
    if kind == "error" {
        let error = node.get_optional_child("error");
        let read = |name| error.and_then(|error| attr(error, name)).unwrap_or_default();
        let refusal = Refusal::Client { code: read("code"), text: read("text") };
        connection.shared.shelf.world().wait_again(connection.id);
        // Nobody may wait any more for this answer.
        let _gone = offered.answer.send(Err(refusal));
        return GO_ON;
    }
    let signed = node.get_optional_child_by_tag(&["pair-device-sign", "device-identity"]);
    let bytes = signed.and_then(|signed| signed.content_bytes()).unwrap_or_default();
    let key_index = signed.and_then(|signed| attr(signed, "key-index")).and_then(|index| index.parse().ok());
    if let Err(error) = offered.offer.accept(bytes, key_index) {
        let why = format!("pair-device-sign: {error}");
        connection.shared.shelf.world().wait_again(connection.id);
        let _gone = offered.answer.send(Err(Refusal::Signature(why.clone())));
        return connection.break_off(&why).await;
    }
    let (jid, number) = (offered.offer.jid.to_string(), offered.number.clone());
    connection.shared.shelf.world().link(connection.id, &offered.offer, offered.number);
    take_back(&connection.shared, &number, jid);
    let _gone = offered.answer.send(Ok(()));
    connection.alarm = Some((Instant::now() + BEFORE_RESTART, Alarm::Restart));
    GO_ON
}

/// Removes a device that has just been linked after a while, if its account's rules say so.
fn take_back(shared: &Arc<Shared>, number: &str, jid: String) {
    let Some(after) = shared.shelf.world().rules(number).remove_after else { return };
    let shared = Arc::clone(shared);
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        select! {
            () = sleep(after) => {}
            () = shared.stop.cancelled() => return,
        }
        let mut world = shared.shelf.world();
        // It may have been logged out meanwhile.
        if world.devices.get(&jid).is_some_and(|device| device.linked) {
            world.log_out(&jid);
        }
    });
}
