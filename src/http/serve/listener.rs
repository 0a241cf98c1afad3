//! The listening socket: takes connections in, bounds what each may cost, and ends them.
//!
//! `axum::serve` has none of these limits. A connection that takes no bytes for too long is closed whatever it speaks: a
//! body or a WebSocket cannot notice that by itself, because it is not asked for more while the peer's window is shut.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;

use super::head_timeout::{HeadClock, IDLE_LIMIT};
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

/// One connection, request after request. One that becomes a WebSocket is served without this task from then on.
async fn converse(mut http: Builder, socket: Socket, peer: SocketAddr, routes: Router, stop: Shutdown) {
    let routes = TowerToHyperService::new(routes);
    let place = socket.place.clone();
    let used = place.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(used.clone());
        // One that was sent away in this moment has asked nothing yet; below it ends.
        let answer = used.is_used().then(|| routes.call(request));
        async { if let Some(answer) = answer { answer.await } else { std::future::pending().await } }
    });
    http.timer(socket.clock.clone());
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = place.must_leave() => return,
        () = stop.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // The peer's doing: gone in the middle, too slow, or no HTTP.
        tracing::trace!(%error, "connection ended");
    }
}

/// A connection with a write time-out, and its place among those that may be open.
struct Socket {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    clock: HeadClock,
    place: Connection,
}

impl Socket {
    fn new(stream: TcpStream, patience: Duration, place: Connection) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            // The peer may be gone already; the next read will show it.
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(patience));
        Self { stream: Box::pin(stream), clock: HeadClock::new(place.clone()), place }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream.as_mut().poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.clock.bytes_came();
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
