//! The listening socket: takes connections in, bounds what each may cost, and ends them.
//!
//! `axum::serve` has none of these limits. A connection that takes no bytes for too long is closed whatever it speaks: a
//! body or a WebSocket cannot notice that by itself, because it is not asked for more while the peer's window is shut.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use tokio::net::{TcpListener, TcpStream};

use super::connection::{Socket, converse};
use super::head_timeout::IDLE_LIMIT;
use crate::http::app::App;
use crate::http::door::limits::Limits;
use crate::http::door::limits::connections::Connection;
use crate::http::door::limits::held::Door;
use crate::shutdown::Shutdown;

/// Longest head of a request, in bytes; hyper answers 431, as it does to more than 100 headers. What is on its way out is
/// kept to the same size before the body is asked for more.
const MAX_HEAD: usize = 16 * 1024;

/// Pause after an accept that failed for a reason of this machine: there may be no descriptor left.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// What connections may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// A connection that accepts no bytes for this long, while there are some to send, is closed.
    pub(crate) patience: Duration,
    /// How many are open at a time. Another one takes the place of the one that has been without a request longest; where
    /// all are in use it is closed.
    pub(crate) connections: usize,
}

/// Takes connections in until `stop` begins, which then waits for them: idle ones end at once, the others with their answer.
pub(crate) async fn serve(
    tcp: TcpListener,
    app: App,
    door: Door,
    routes: Router,
    bounds: Bounds,
    stop: Shutdown,
) {
    let mut http = Builder::new();
    // It begins as an idle connection's; `HeadClock` shortens it.
    http.header_read_timeout(IDLE_LIMIT).max_buf_size(MAX_HEAD);
    let limits = &app.limits;
    limits.opens(door, bounds.connections);
    loop {
        let (stream, peer, place) = tokio::select! {
            () = stop.begun() => return,
            accepted = accept(&tcp, limits, door) => accepted,
        };
        let socket = Socket::new(stream, bounds.patience, place);
        stop.spawn(converse(http.clone(), socket, peer, routes.clone(), stop.clone()));
    }
}

/// The next connection that there is a place for. Whether there is one depends on whose it is, so others cannot wait in the
/// kernel's queue: they would keep out those behind them.
async fn accept(tcp: &TcpListener, limits: &Arc<Limits>, door: Door) -> (TcpStream, SocketAddr, Connection) {
    loop {
        match tcp.accept().await {
            Ok((stream, peer)) => {
                if let Some(place) = limits.connect(door, peer.ip()) {
                    return (stream, peer, place);
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be taken in");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Whether the peer went before it was taken in.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}
