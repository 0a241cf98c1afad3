//! The passkey step on the connection of an unpaired client: after a scan the account requires an assertion, then
//! client and phone agree on a new secret, and only then comes pair-success. What is computed is in `phone::passkey`.
//!
//! Source: `whatsapp-rust` 0.7.0 `passkey/flow.rs`.

use tokio::sync::oneshot;
use tokio::time::Instant;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Node, NodeRef};

use super::connection::{Connection, Flow, GO_ON};
use super::pair_success;
use super::phase::{Alarm, PasskeyStep, Phase};
use super::stanza;
use crate::phone::{Ceremony, PasskeyError};
use crate::state::{ClientId, PasskeyState, Role, World};

/// The answer of an account that refuses the assertion. WhatsApp's own code is not known.
const REFUSED: (u16, &str) = (403, "forbidden");

/// Asks the client for an assertion.
pub(super) async fn begin(connection: &mut Connection, number: String, device: u16, refuse: bool) -> Flow {
    let Phase::Pairing(pairing) = &mut connection.phase else { return GO_ON };
    let known = connection.shared.shelf.world().phones.get(&number).and_then(|phone| phone.passkey.clone());
    let ceremony = Ceremony::new(format!("4@{}", stanza::fresh_id()), known);
    let options = options(&ceremony);
    pairing.passkey = Some(PasskeyStep { ceremony, refuse, device, number, adv_secret: None });
    connection.say(stanza::notification("passkey_prologue_request", options)).await
}

fn options(ceremony: &Ceremony) -> Node {
    NodeBuilder::new("passkey_request_options").bytes(ceremony.request_options().into_bytes()).build()
}

/// Handles a stanza of the step; `None` if the stanza is about something else.
pub(super) async fn hear(connection: &mut Connection, id: &str, child: &NodeRef<'_>) -> Option<Flow> {
    let Phase::Pairing(pairing) = &mut connection.phase else { return None };
    let step = pairing.passkey.as_mut()?;
    let shelf = &connection.shared.shelf;
    let mut next = None;
    let answer = match &*child.tag {
        "passkey_request_options" => Ok(stanza::result(id).children([options(&step.ceremony)]).build()),
        "ref" => {
            let reference = NodeBuilder::new("ref").bytes(step.ceremony.reference.as_bytes()).build();
            Ok(stanza::result(id).children([reference]).build())
        }
        "passkey_prologue" => {
            prologue(step, &mut shelf.world(), connection.id, id, child).inspect(|answer| {
                next = stanza::is_result(answer).then_some(Alarm::Continue);
            })
        }
        "companion_nonce" => nonce(step, &mut shelf.world(), connection.id, id, child),
        "encrypted_pairing_request" => {
            request(step, &mut shelf.world(), connection.id, id, child).inspect(|_| next = Some(Alarm::Vouch))
        }
        _ => return None,
    };
    Some(match answer {
        Ok(node) => answer_and_go_on(connection, node, next).await,
        Err(error) => {
            connection.complain(&format!("passkey: {error}"));
            connection.say(stanza::error(id, 400, "bad-request")).await
        }
    })
}

/// Answers, and lets the phone continue after its pause, or in the same message if the pause is zero.
async fn answer_and_go_on(connection: &mut Connection, answer: Node, next: Option<Alarm>) -> Flow {
    connection.say(answer).await?;
    let pause = connection.shared.conditions.passkey_pause();
    match next {
        Some(Alarm::Continue) if pause.is_zero() => go_on(connection).await,
        Some(Alarm::Vouch) if pause.is_zero() => vouch(connection).await,
        Some(alarm) => {
            connection.alarm = Some((Instant::now() + pause, alarm));
            GO_ON
        }
        None => GO_ON,
    }
}

fn prologue(
    step: &mut PasskeyStep,
    world: &mut World,
    client: ClientId,
    id: &str,
    prologue: &NodeRef<'_>,
) -> Result<Node, PasskeyError> {
    let bytes =
        |tag| prologue.get_optional_child(tag).and_then(|child| child.content_bytes()).unwrap_or_default();
    let taken = step.ceremony.prologue(
        bytes("credential_id"),
        bytes("webauthn_assertion"),
        bytes("prologue_payload"),
    );
    if step.refuse || taken.is_err() {
        stage(world, client, "refused", None);
        world.wait_again(client);
    }
    taken?;
    if step.refuse {
        return Ok(stanza::error(id, REFUSED.0, REFUSED.1));
    }
    stage(world, client, "asserted", None);
    Ok(stanza::result(id).build())
}

fn nonce(
    step: &mut PasskeyStep,
    world: &mut World,
    client: ClientId,
    id: &str,
    nonce: &NodeRef<'_>,
) -> Result<Node, PasskeyError> {
    let code = step.ceremony.code(nonce.content_bytes().unwrap_or_default())?;
    stage(world, client, "confirmation", Some(code));
    Ok(stanza::result(id).build())
}

fn request(
    step: &mut PasskeyStep,
    world: &mut World,
    client: ClientId,
    id: &str,
    request: &NodeRef<'_>,
) -> Result<Node, PasskeyError> {
    let Some(Role::Waiting(waiting)) = world.clients.get(&client).map(|client| &client.role) else {
        return Err(PasskeyError::Order("encrypted_pairing_request"));
    };
    let registration = &waiting.registration;
    let bytes = request.content_bytes().unwrap_or_default();
    step.adv_secret = Some(step.ceremony.open(bytes, &registration.noise_public, &registration.identity)?);
    Ok(stanza::result(id).build())
}

fn stage(world: &mut World, client: ClientId, stage: &str, code: Option<String>) {
    if let Some(PasskeyState { stage: kept, code: shown, .. }) = world.passkeys.get_mut(&client) {
        stage.clone_into(kept);
        *shown = code;
    }
}

/// Sends the phone's half of the handshake.
pub(super) async fn go_on(connection: &mut Connection) -> Flow {
    let Phase::Pairing(pairing) = &connection.phase else { return GO_ON };
    let Some(step) = &pairing.passkey else { return GO_ON };
    let identity = NodeBuilder::new("primary_ephemeral_identity").bytes(step.ceremony.continuation()).build();
    connection.say(stanza::notification("crsc_continuation", identity)).await
}

/// The phone vouches for the device under the new secret.
pub(super) async fn vouch(connection: &mut Connection) -> Flow {
    let Phase::Pairing(pairing) = &mut connection.phase else { return GO_ON };
    let Some(PasskeyStep { device, number, adv_secret: Some(secret), .. }) = pairing.passkey.take() else {
        return GO_ON;
    };
    let offer = {
        let mut world = connection.shared.shelf.world();
        let Some(Role::Waiting(waiting)) = world.clients.get(&connection.id).map(|client| &client.role)
        else {
            return GO_ON;
        };
        let identity = waiting.registration.identity;
        world.phones.get_mut(&number).map(|phone| phone.offer(device, identity, &secret))
    };
    match offer {
        Some(Ok(offer)) => {
            // The scan was answered earlier; nobody waits for this.
            let (answer, _) = oneshot::channel();
            pair_success::offer(connection, Box::new(offer), number, answer).await
        }
        Some(Err(error)) => {
            tracing::error!(%error, "the phone cannot sign");
            GO_ON
        }
        None => GO_ON,
    }
}
