//! One client, from the upgrade of its WebSocket to its end: reads its bytes, takes orders from elsewhere, and hands whole
//! stanzas to what the client has become (`pairing`, `login`). It decides when the connection ends, and nothing about what
//! is said. `control` hands it every WebSocket.

use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use wacore_binary::{NodeRef, OwnedNodeRef};

use super::connection::{Connection, END, Flow, GO_ON};
use super::gate::Refusal;
use super::phase::{Alarm, Phase};
use super::wire::Wire;
use super::{Shared, code, gate, login, pair_success, pairing, passkey, stanza, stream};
use crate::noise::{Hello, NoiseError, Step};
use crate::state::{Client, Order, Role};

/// Serves a client until either side ends it, or the simulator does.
pub(crate) async fn client(shared: Arc<Shared>, socket: WebSocket) {
    let mut serving = Serving::begin(shared, socket);
    while serving.one().await.is_continue() {}
    // Done before the orders' receiver is dropped: a caller that waits for this client's answer must not find it in the
    // lists again.
    let connection = &serving.connection;
    connection.shared.shelf.world().disconnect(connection.id);
}

/// A connection, and all that makes something happen on it.
struct Serving {
    connection: Connection,
    wire: Wire,
    orders: mpsc::UnboundedReceiver<Order>,
    cut: CancellationToken,
    paused: watch::Receiver<bool>,
}

impl Serving {
    fn begin(shared: Arc<Shared>, socket: WebSocket) -> Self {
        let (sender, orders) = mpsc::unbounded_channel();
        let cut = shared.stop.child_token();
        let client = Client { orders: sender, cut: cut.clone(), role: Role::Greeting };
        let id = shared.shelf.world().connect(client);
        let paused = shared.paused.subscribe();
        Self { connection: Connection::new(id, shared, socket), wire: Wire::default(), orders, cut, paused }
    }

    /// One thing that happens, and what was said because of it.
    async fn one(&mut self) -> Flow {
        let flow = self.happen().await;
        self.connection.empty().await?;
        flow
    }

    /// One thing that happens, and its consequences. In an outage the socket is still read, so that a client that goes
    /// away is seen to go; what it said waits in `wire`.
    async fn happen(&mut self) -> Flow {
        let paused = *self.paused.borrow_and_update();
        let alarm = self.connection.alarm.map(|(at, _)| at);
        let silent = self.connection.silent_until;
        let mute = paused || silent.is_some();
        select! {
            // The socket is read before orders, so that a client that is gone does not count as alive.
            biased;
            () = self.cut.cancelled() => return END,
            message = self.connection.receive() => self.take(message)?,
            () = sleep_until(alarm.unwrap_or_else(Instant::now)), if alarm.is_some() && !mute => ring(&mut self.connection).await?,
            Some(order) = self.orders.recv(), if !mute => obey(&mut self.connection, order).await?,
            () = sleep_until(silent.unwrap_or_else(Instant::now)), if silent.is_some() => self.connection.silent_until = None,
            changed = self.paused.changed() => if changed.is_err() { return END },
        }
        while !*self.paused.borrow() && self.connection.silent_until.is_none() {
            let Some(body) = self.wire.next() else { break };
            read(&mut self.connection, body).await?;
        }
        GO_ON
    }

    fn take(&mut self, message: Option<Result<Message, axum::Error>>) -> Flow {
        match message {
            Some(Ok(Message::Binary(bytes))) => match self.wire.feed(&bytes) {
                Ok(()) => GO_ON,
                Err(error) => {
                    self.connection.complain(&error.to_string());
                    END
                }
            },
            // Text means nothing here; pings are answered by the WebSocket itself.
            Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => GO_ON,
            Some(Ok(Message::Close(_)) | Err(_)) | None => END,
        }
    }
}

async fn ring(connection: &mut Connection) -> Flow {
    let Some((_, alarm)) = connection.alarm.take() else { return GO_ON };
    match alarm {
        Alarm::Restart => connection.last_word(stanza::stream_error(515)).await,
        Alarm::Removed => connection.last_word(stanza::conflict(Some(401), "device_removed")).await,
        Alarm::Continue => passkey::go_on(connection).await,
        Alarm::Vouch => passkey::vouch(connection).await,
        Alarm::Drop => END,
    }
}

async fn obey(connection: &mut Connection, order: Order) -> Flow {
    match order {
        Order::Offer { offer, number, answer } => {
            pair_success::offer(connection, offer, number, answer).await
        }
        Order::Passkey { number, device, refuse } => passkey::begin(connection, number, device, refuse).await,
        Order::PrimaryHello { wrapped, identity, reference, bundle } => {
            code::primary_hello(connection, &wrapped, &identity, &reference, bundle).await
        }
        Order::Replace => connection.last_word(stanza::conflict(None, "replaced")).await,
        Order::LogOut => connection.last_word(stanza::conflict(Some(401), "device_removed")).await,
        Order::Happen(happening) => stream::happen(connection, happening).await,
        Order::Deliver => login::deliver(connection).await,
        Order::Tell(node) => login::tell(connection, *node).await,
        Order::RenewSecret => pairing::renew_secret(connection).await,
        Order::RenewRefs(refs) => pairing::renew_refs(connection, &refs).await,
        Order::Answer(answer) => {
            // The caller may have stopped waiting.
            let _gone = answer.send(());
            GO_ON
        }
    }
}

async fn read(connection: &mut Connection, mut body: Vec<u8>) -> Flow {
    if let Phase::Handshake(responder) = &mut connection.phase {
        let step = responder.read(&body);
        return shake_hands(connection, step).await;
    }
    let Some(transport) = &mut connection.transport else { return END };
    if let Err(error) = transport.open(&mut body) {
        return connection.break_off(&error.to_string()).await;
    }
    let decoded = wacore_binary::util::unpack(&body).and_then(|plain| OwnedNodeRef::new(plain.into_owned()));
    match decoded {
        Ok(node) => hear(connection, node.get()).await,
        Err(error) => connection.break_off(&format!("a frame is not binary XML: {error}")).await,
    }
}

async fn shake_hands(connection: &mut Connection, step: Result<Step, NoiseError>) -> Flow {
    match step {
        Ok(Step::Reply(reply)) => connection.write(&reply).await,
        Ok(Step::Open { reply, transport, hello }) => {
            if let Some(reply) = reply {
                connection.write(&reply).await?;
                // A client of 0.7.0 loses what follows the ServerHello in the same message.
                // Source: `handshake.rs` (`recv_frame` reads into a decoder that ends with the handshake).
                connection.empty().await?;
            }
            connection.transport = Some(transport);
            greet(connection, *hello).await
        }
        Err(error) => {
            connection.complain(&format!("handshake: {error}"));
            END
        }
    }
}

async fn greet(connection: &mut Connection, hello: Hello) -> Flow {
    tracing::debug!(client = connection.id, pattern = ?hello.pattern, "handshake done");
    connection.shared.shelf.world().shook_hands(hello.pattern);
    match gate::pass(&connection.shared, &hello) {
        Ok(()) => {}
        Err(Refusal::Failure(failure)) => return connection.last_word(stanza::failure(&failure)).await,
        Err(Refusal::StreamError(code)) => return stream::turn_away(connection, code).await,
    }
    match hello.payload.username {
        Some(_) => login::begin(connection, hello).await,
        None => pairing::begin(connection, hello).await,
    }
}

async fn hear(connection: &mut Connection, node: &NodeRef<'_>) -> Flow {
    tracing::trace!(client = connection.id, tag = %node.tag, "heard");
    if stream::is_pong(connection, node) {
        return GO_ON;
    }
    match &connection.phase {
        Phase::Pairing(_) => pairing::hear(connection, node).await,
        Phase::Online { jid, .. } => {
            let jid = jid.clone();
            login::hear(connection, &jid, node).await
        }
        Phase::Handshake(_) | Phase::Over => GO_ON,
    }
}
