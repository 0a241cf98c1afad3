//! A paired client: whether it is let in, what it is then told unasked, and where each of its stanzas goes.
//! Its questions (iq) are answered in `iq`.
//!
//! Source: `whatsapp-rust` 0.7.0 `client/node_io.rs` (`handle_success`, `handle_connect_failure`).

use std::time::Duration;

use tokio::time::{Instant, timeout};
use wacore_binary::{Node, NodeRef};

use super::Shared;
use super::answer::After;
use super::connection::{Connection, END, Flow, GO_ON};
use super::phase::{Alarm, Phase};
use super::stanza::{self, attr};
use super::{iq, peer};
use crate::noise::Hello;
use crate::state::{Failure, Outcome, Presence, World};

/// How long an older login of the same device may take for its sign of life before it counts as alive.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);
/// A device that removes itself gets its answer before its stream ends: both at once would be told twice by the client.
const BEFORE_REMOVAL: Duration = Duration::from_millis(200);
/// Bytes for the pre-intro of the next connection.
const ROUTING: &[u8] = b"simulator";

/// Lets a device in, or says why not.
pub(super) async fn begin(connection: &mut Connection, hello: Hello) -> Flow {
    let jid = hello.claimed_jid().to_string();
    let verdict = judge(&mut connection.shared.shelf.world(), &jid, &hello);
    if let Some(Refused { failure, complaint }) = verdict.refused {
        if let Some(complaint) = complaint {
            connection.complain(&complaint);
        }
        return connection.last_word(stanza::failure(&failure)).await;
    }
    if let Some(complaint) = verdict.complaint {
        connection.complain(&complaint);
    }
    settle_older(&connection.shared, &jid).await;
    let lid = {
        let mut world = connection.shared.shelf.world();
        let logged_in = world.log_in(connection.id, &jid);
        for older in logged_in.replaced {
            world.order(older, crate::state::Order::Replace);
        }
        world.devices.get(&jid).map(|device| device.lid.clone())
    };
    let Some(lid) = lid else { return END };
    connection.phase = Phase::Online { jid, active: false };
    connection.say(stanza::success(&lid)).await?;
    let expires = connection.shared.shelf.world().versions.expires;
    if expires > 0 { connection.say(stanza::client_expiration(expires)).await } else { GO_ON }
}

/// The decision about a login: refused, or accepted with or without a complaint.
#[derive(Default)]
struct LoginDecision {
    refused: Option<Refused>,
    complaint: Option<String>,
}

struct Refused {
    failure: Failure,
    complaint: Option<String>,
}

fn judge(world: &mut World, jid: &str, hello: &Hello) -> LoginDecision {
    let logged_out = |complaint: Option<String>| LoginDecision {
        refused: Some(Refused { failure: Failure::of(401), complaint }),
        complaint: None,
    };
    let Some(device) = world.devices.get_mut(jid) else {
        return logged_out(Some(format!("login of {jid}, which was never linked")));
    };
    if device.noise_public != hello.client_static {
        return logged_out(Some(format!("login of {jid} with another Noise key than it registered")));
    }
    // The usual end of a device. The client cannot know it before it asks, so this is not a fault.
    if !device.linked {
        return logged_out(None);
    }
    if let Some(failure) = world.failures.take(jid) {
        return LoginDecision { refused: Some(Refused { failure, complaint: None }), complaint: None };
    }
    let complaint = counter_complaint(jid, device.login_counter, hello.payload.lc);
    device.login_counter = hello.payload.lc.or(device.login_counter);
    LoginDecision { refused: None, complaint }
}

/// The counter rises with every login that was let in. The client saves it in the background after the login, so one
/// that crashed repeats it: worth a word, no reason to refuse.
/// Source: `client/node_io.rs` (`IncrementLoginCounter` in the task that `<success>` starts).
fn counter_complaint(jid: &str, last: Option<i32>, now: Option<i32>) -> Option<String> {
    match (last, now) {
        (_, None) => Some(format!("login of {jid} without a login counter")),
        (Some(last), Some(now)) if now <= last => {
            Some(format!("login counter of {jid} was {last} and is {now}"))
        }
        _ => None,
    }
}

/// Waits until older logins of the device have either shown that they live, or are seen to be gone.
async fn settle_older(shared: &Shared, jid: &str) {
    let calls = shared.shelf.world().call(jid);
    for call in calls {
        // An error means gone; a late answer means alive but busy. Both are settled.
        let _either = timeout(SIGN_OF_LIFE, call).await;
    }
}

/// Sends what has come for the device since its last delivery.
pub(super) async fn deliver(connection: &mut Connection) -> Flow {
    let Phase::Online { jid, active: true } = &connection.phase else { return GO_ON };
    let fresh = match connection.shared.shelf.world().devices.get_mut(jid) {
        Some(device) => device.mailbox.fresh(),
        None => Vec::new(),
    };
    for node in fresh {
        connection.say(node).await?;
    }
    GO_ON
}

/// Says something to a device that is active.
pub(super) async fn tell(connection: &mut Connection, node: Node) -> Flow {
    match &connection.phase {
        Phase::Online { active: true, .. } => connection.say(node).await,
        _ => GO_ON,
    }
}

/// Takes what a device says.
pub(super) async fn hear(connection: &mut Connection, jid: &str, node: &NodeRef<'_>) -> Flow {
    match &*node.tag {
        "iq" => ask(connection, jid, node).await,
        "presence" => presence(connection, jid, node),
        "receipt" => receipt(connection, jid, node).await,
        "message" => message(connection, jid, node).await,
        "ack" => {
            acknowledged(connection, jid, node);
            GO_ON
        }
        // `<ib><unified_session>`, chat states.
        _ => GO_ON,
    }
}

async fn message(connection: &mut Connection, jid: &str, node: &NodeRef<'_>) -> Flow {
    let Some(ack) = stanza::ack(node, "message") else {
        return connection.break_off("a message without id").await;
    };
    let answered = peer::hear(connection, jid, node);
    connection.say(ack).await?;
    if answered { deliver(connection).await } else { GO_ON }
}

async fn ask(connection: &mut Connection, jid: &str, node: &NodeRef<'_>) -> Flow {
    let kind = attr(node, "type").unwrap_or_default();
    if kind == "result" || kind == "error" {
        return GO_ON;
    }
    let Some(id) = attr(node, "id") else { return connection.break_off("an iq without id").await };
    let answer = iq::answer(&mut connection.shared.shelf.world(), jid, &id, &kind, node);
    if let Some(complaint) = answer.complaint {
        connection.complain(&complaint);
    }
    connection.say(answer.node).await?;
    match answer.after {
        After::Nothing => GO_ON,
        After::Offline => offline(connection, jid).await,
        After::Removed => {
            connection.alarm = Some((Instant::now() + BEFORE_REMOVAL, Alarm::Removed));
            GO_ON
        }
    }
}

/// What an active device is told first: everything it has not acknowledged.
async fn offline(connection: &mut Connection, jid: &str) -> Flow {
    peer::settle(&mut connection.shared.shelf.world(), jid);
    let letters = match connection.shared.shelf.world().devices.get_mut(jid) {
        Some(device) => device.mailbox.all(),
        None => Vec::new(),
    };
    let count = letters.len();
    connection.phase = Phase::Online { jid: jid.to_owned(), active: true };
    connection.say(stanza::edge_routing(ROUTING.to_vec())).await?;
    connection.say(stanza::offline_preview(&letters)).await?;
    for letter in letters {
        connection.say(letter).await?;
    }
    connection.say(stanza::offline(count)).await
}

fn presence(connection: &Connection, jid: &str, node: &NodeRef<'_>) -> Flow {
    let presence = match attr(node, "type").as_deref() {
        Some("available") => Presence::Available,
        Some("unavailable") => Presence::Unavailable,
        // Subscriptions to others.
        _ => return GO_ON,
    };
    if let Some(device) = connection.shared.shelf.world().devices.get_mut(jid) {
        device.presence = Some(presence);
    }
    GO_ON
}

/// Notifications, receipts and calls are settled by an ack; messages by a receipt only.
fn acknowledged(connection: &Connection, jid: &str, node: &NodeRef<'_>) {
    if attr(node, "class").as_deref() == Some("message") {
        return;
    }
    if let (Some(id), Some(device)) = (attr(node, "id"), connection.shared.shelf.world().devices.get_mut(jid))
    {
        device.mailbox.settle(&id, Outcome::Acknowledged);
    }
}

async fn receipt(connection: &mut Connection, jid: &str, node: &NodeRef<'_>) -> Flow {
    let Some(id) = attr(node, "id") else { return connection.break_off("a receipt without id").await };
    let outcome = match attr(node, "type").as_deref() {
        Some("retry") => Outcome::Retry,
        _ => Outcome::Acknowledged,
    };
    if let Some(device) = connection.shared.shelf.world().devices.get_mut(jid) {
        // A receipt is repeated if a stanza was delivered twice, so an unknown id is not a fault.
        let items = node.get_optional_child("list").and_then(|list| list.children()).unwrap_or_default();
        let more = items.iter().filter_map(|item| attr(item, "id"));
        for id in std::iter::once(id).chain(more) {
            device.mailbox.settle(&id, outcome.clone());
        }
    }
    match stanza::ack(node, "receipt") {
        Some(ack) => connection.say(ack).await,
        None => GO_ON,
    }
}
