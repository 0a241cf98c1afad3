//! Pairing by code, on the connection of an unpaired client: it asks for a reference, a phone says hello, the client
//! answers with its key bundle. The phone's side is `actions::code`; pair-success follows as after a scan.
//!
//! Source: `whatsapp-rust` 0.7.0 `pair_code.rs`, `wacore` 0.7.0 `pair_code.rs`.

use std::time::Instant;

use tokio::sync::oneshot;
use wacore_binary::NodeRef;
use wacore_binary::builder::NodeBuilder;

use super::connection::{Connection, Flow, GO_ON};
use super::phase::Phase;
use super::stanza::{self, attr};
use crate::phone::{WRAPPED, normalize_number};
use crate::state::{LinkCode, Role, World};

const REG: &str = "link_code_companion_reg";

/// Takes a `<link_code_companion_reg>` of the client.
pub(super) async fn hear(connection: &mut Connection, id: &str, reg: &NodeRef<'_>) -> Flow {
    let result = match attr(reg, "stage").as_deref() {
        Some("companion_hello") => companion_hello(&mut connection.shared.shelf.world(), connection.id, reg),
        Some("companion_finish") => {
            let Phase::Pairing(pairing) = &mut connection.phase else { return GO_ON };
            companion_finish(&connection.shared.shelf.world(), connection.id, reg, &mut pairing.bundle)
        }
        stage => Err(Refused::Wrong(format!("link code stage {stage:?}"))),
    };
    match result {
        Ok(Some(reference)) => connection.say(reference_answer(id, &reference)).await,
        Ok(None) => connection.say(stanza::result(id).build()).await,
        Err(Refused::Ordered(code, text)) => connection.say(stanza::error(id, code, text)).await,
        Err(Refused::Wrong(what)) => {
            connection.complain(&what);
            connection.say(stanza::error(id, 400, "bad-request")).await
        }
    }
}

enum Refused {
    /// A test has ordered the refusal.
    Ordered(u16, &'static str),
    /// The client broke a rule.
    Wrong(String),
}

/// Notes whose phone may enter a code, and gives the reference that ties the stages together.
fn companion_hello(world: &mut World, client: u64, reg: &NodeRef<'_>) -> Result<Option<Vec<u8>>, Refused> {
    if let Some((code, text)) = world.code_refusals.pop_front() {
        return Err(Refused::Ordered(code, text));
    }
    let wrong = |what: &str| Refused::Wrong(format!("companion_hello: {what}"));
    let Some(Role::Waiting(waiting)) = world.clients.get_mut(&client).map(|client| &mut client.role) else {
        return Err(wrong("the client is not waiting"));
    };
    let number = reg.get_attr("jid").and_then(|jid| jid.to_jid()).and_then(|jid| normalize_number(&jid.user));
    let number = number.ok_or_else(|| wrong("jid is not a phone's"))?;
    let wrapped =
        bytes(reg, "link_code_pairing_wrapped_companion_ephemeral_pub").and_then(|key| key.try_into().ok());
    let wrapped: [u8; WRAPPED] = wrapped.ok_or_else(|| wrong("the wrapped key has not 80 bytes"))?;
    if bytes(reg, "companion_server_auth_key_pub") != Some(&waiting.registration.noise_public) {
        return Err(wrong("the server auth key is not the client's Noise key"));
    }
    if ["companion_platform_id", "companion_platform_display"]
        .iter()
        .any(|tag| bytes(reg, tag).is_none_or(<[u8]>::is_empty))
    {
        return Err(wrong("the platform is missing"));
    }
    let reference = format!("3@{}", stanza::fresh_id()).into_bytes();
    let code = LinkCode { number, wrapped, reference: reference.clone(), entered: 0, since: Instant::now() };
    waiting.code = Some(code);
    Ok(Some(reference))
}

fn reference_answer(id: &str, reference: &[u8]) -> wacore_binary::Node {
    let reference = NodeBuilder::new("link_code_pairing_ref").bytes(reference).build();
    let reg = NodeBuilder::new(REG).attr("stage", "companion_hello").children([reference]).build();
    stanza::result(id).children([reg]).build()
}

/// Passes the phone's hello on.
pub(super) async fn primary_hello(
    connection: &mut Connection,
    wrapped: &[u8],
    identity: &[u8],
    reference: &[u8],
    bundle: oneshot::Sender<Vec<u8>>,
) -> Flow {
    // Dropping `bundle` tells the phone that the client has gone.
    let Phase::Pairing(pairing) = &mut connection.phase else { return GO_ON };
    pairing.bundle = Some(bundle);
    let leaf = |tag: &'static str, bytes: &[u8]| NodeBuilder::new(tag).bytes(bytes).build();
    let reg = NodeBuilder::new(REG).attr("stage", "primary_hello").children([
        leaf("link_code_pairing_wrapped_primary_ephemeral_pub", wrapped),
        leaf("primary_identity_pub", identity),
        leaf("link_code_pairing_ref", reference),
    ]);
    connection.say(stanza::notification(REG, reg.build())).await
}

/// Passes the key bundle on to the phone, which alone can tell whether it opens.
fn companion_finish(
    world: &World,
    client: u64,
    reg: &NodeRef<'_>,
    waiting_phone: &mut Option<oneshot::Sender<Vec<u8>>>,
) -> Result<Option<Vec<u8>>, Refused> {
    let wrong = |what: &str| Refused::Wrong(format!("companion_finish: {what}"));
    let Some(Role::Waiting(waiting)) = world.clients.get(&client).map(|client| &client.role) else {
        return Err(wrong("the client is not waiting"));
    };
    let code = waiting.code.as_ref().ok_or_else(|| wrong("no code was asked for"))?;
    if bytes(reg, "link_code_pairing_ref") != Some(&code.reference) {
        return Err(wrong("another reference"));
    }
    if bytes(reg, "companion_identity_public") != Some(&waiting.registration.identity) {
        return Err(wrong("another identity than the registration's"));
    }
    let bundle = bytes(reg, "link_code_pairing_wrapped_key_bundle").ok_or_else(|| wrong("no key bundle"))?;
    let phone = waiting_phone.take().ok_or_else(|| wrong("no phone has entered the code"))?;
    // The phone may have stopped waiting.
    let _gone = phone.send(bundle.to_vec());
    Ok(None)
}

fn bytes<'a>(parent: &'a NodeRef<'_>, tag: &str) -> Option<&'a [u8]> {
    parent.get_optional_child(tag).and_then(|child| child.content_bytes())
}
