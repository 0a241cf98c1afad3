//! An unpaired client: it gets refs to show as QRs, then the offer of the phone that scanned one (or got its code, see
//! `code`), signs it and reconnects. The phone's side of a scan is `actions::scan`.
//!
//! Source: `whatsapp-rust` 0.7.0 `pair.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::RngExt as _;
use tokio::sync::oneshot;
use tokio::time::Instant;
use wacore_binary::NodeRef;
use wacore_binary::builder::NodeBuilder;

use super::connection::{Alarm, Connection, Flow, GO_ON, Phase};
use super::stanza::{self, attr};
use super::{code, passkey};
use crate::actions::take_back;
use crate::noise::Hello;
use crate::phone::Offer;
use crate::state::{Failure, Refusal, Registration, Role, Waiting};

/// The client marks the coming restart as expected only after it has sent its signature; a 515 that overtakes this costs
/// it the next connection. Source: `handle_pair_success`, seen in 21 of 500 pairings without a pause, in none with 50 ms.
const BEFORE_RESTART: Duration = Duration::from_millis(60);

/// The state of an unpaired client.
pub(super) struct Pairing {
    /// Ids of every `pair-device` it got.
    pair_device: Vec<String>,
    offered: Option<Offered>,
    pub(super) passkey: Option<passkey::Step>,
    /// The phone that has entered a code and waits for the key bundle.
    pub(super) bundle: Option<oneshot::Sender<Vec<u8>>>,
}

struct Offered {
    id: String,
    offer: Box<Offer>,
    number: String,
    answer: oneshot::Sender<Result<(), Refusal>>,
}

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
    let refs: Vec<String> = (0..count).map(|_| fresh_ref()).collect();
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

/// Like WhatsApp's: no comma, which separates the fields of a QR.
pub(crate) fn fresh_ref() -> String {
    use base64::Engine as _;
    let bytes: [u8; 48] = rand::rng().random();
    format!("2@{}", base64::engine::general_purpose::STANDARD.encode(bytes))
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
                return answered(connection, offered, &kind, node).await;
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

/// The client took the offer, or did not.
async fn answered(connection: &mut Connection, offered: Offered, kind: &str, node: &NodeRef<'_>) -> Flow {
    if kind == "error" {
        let error = node.get_optional_child("error");
        let read = |name| error.and_then(|error| attr(error, name)).unwrap_or_default();
        let refusal = Refusal::Client { code: read("code"), text: read("text") };
        wait_again(connection);
        // Nobody may wait any more for this answer.
        let _gone = offered.answer.send(Err(refusal));
        return GO_ON;
    }
    let signed = node.get_optional_child_by_tag(&["pair-device-sign", "device-identity"]);
    let bytes = signed.and_then(|signed| signed.content_bytes()).unwrap_or_default();
    let key_index = signed.and_then(|signed| attr(signed, "key-index")).and_then(|index| index.parse().ok());
    if let Err(error) = offered.offer.accept(bytes, key_index) {
        let why = format!("pair-device-sign: {error}");
        wait_again(connection);
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

fn wait_again(connection: &Connection) {
    let mut world = connection.shared.shelf.world();
    if let Some(Role::Waiting(waiting)) = world.clients.get_mut(&connection.id).map(|client| &mut client.role)
    {
        waiting.offered = false;
    }
}
