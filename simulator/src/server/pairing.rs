//! An unpaired client: it gets refs to show as QRs, and what it says goes to `code`, `passkey` or `pair_success`.
//! The phone's side of a scan is `actions::scan`.
//!
//! Source: `whatsapp-rust` 0.7.0 `pair.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wacore_binary::NodeRef;
use wacore_binary::builder::NodeBuilder;

use super::connection::{Connection, Flow, GO_ON};
use super::phase::{Pairing, Phase};
use super::stanza::{self, attr};
use super::{code, pair_success, passkey};
use crate::noise::Hello;
use crate::state::{Failure, Registration, Role, Waiting};

/// Takes a registration and hands out refs.
pub(super) async fn begin(connection: &mut Connection, hello: Hello) -> Flow {
    let registration = match Registration::read(&hello.payload, hello.client_static) {
        Ok(registration) => Arc::new(registration),
        Err(error) => {
            connection.complain(&format!("registration: {error}"));
            return connection.last_word(stanza::failure(&Failure::of(400))).await;
        }
    };
    let count = connection.shared.refs.load(Ordering::Relaxed);
    let refs: Vec<String> = (0..count).map(|_| stanza::fresh_ref()).collect();
    let id = stanza::fresh_id();
    let node = stanza::pair_device(&id, &refs);
    let pairing = Pairing { pair_device: vec![id], offered: None, passkey: None, bundle: None };
    connection.phase = Phase::Pairing(Box::new(pairing));
    let waiting = Waiting { refs, registration, offered: false, code: None, refreshed: false };
    if let Some(client) = connection.shared.shelf.world().clients.get_mut(&connection.id) {
        client.role = Role::Waiting(Box::new(waiting));
    }
    connection.say(node).await
}

/// Has the client make a new secret, which its QR shows.
/// Source: `handlers/notification/companion_reg.rs`.
pub(super) async fn renew_secret(connection: &mut Connection) -> Flow {
    let Phase::Pairing(_) = &connection.phase else { return GO_ON };
    let child = NodeBuilder::new("companion_reg_refresh").build();
    connection.say(stanza::notification("companion_reg_refresh", child)).await
}

/// Gives the client other refs, of which it shows the first at once.
pub(super) async fn renew_refs(connection: &mut Connection, refs: &[String]) -> Flow {
    let Phase::Pairing(pairing) = &mut connection.phase else { return GO_ON };
    let id = stanza::fresh_id();
    pairing.pair_device.push(id.clone());
    connection.say(stanza::pair_device(&id, refs)).await
}

/// Takes what an unpaired client says.
pub(super) async fn hear(connection: &mut Connection, node: &NodeRef<'_>) -> Flow {
    if node.tag != "iq" {
        // `<ib><unified_session>` and acks.
        return GO_ON;
    }
    let Some(id) = attr(node, "id") else { return connection.break_off("an iq without id").await };
    let kind = attr(node, "type").unwrap_or_default();
    let Phase::Pairing(pairing) = &mut connection.phase else { return GO_ON };
    match kind.as_str() {
        "result" | "error" => {
            if let Some(offered) = pairing.offered.take_if(|offered| offered.id == id) {
                return pair_success::answered(connection, offered, &kind, node).await;
            }
            if !pairing.pair_device.contains(&id) {
                connection.complain("a result for an iq that was never sent");
            }
            GO_ON
        }
        "set" if let Some(reg) = node.get_optional_child("link_code_companion_reg") => {
            code::hear(connection, &id, reg).await
        }
        _ if attr(node, "xmlns").as_deref() == Some("w:p") => {
            connection.say(stanza::result(&id).build()).await
        }
        _ => {
            let child = node.children().and_then(|children| children.first());
            if let Some(child) = child
                && let Some(flow) = passkey::hear(connection, &id, child).await
            {
                return flow;
            }
            connection.complain(&format!("iq {:?} before pairing", attr(node, "xmlns").unwrap_or_default()));
            connection.say(stanza::error(&id, 401, "not-authorized")).await
        }
    }
}
