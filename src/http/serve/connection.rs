//! One connection: request after request by hyper, until it ends or one of its answers is the head of a stream.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, DATE};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Parts};
use hyper::service::{Service as _, service_fn};
use hyper::{Method, Request, Version};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_tungstenite::tungstenite::handshake::server::write_response;

use super::head_timeout::HeadClock;
use crate::http::door::limits::connections::Connection;
use crate::http::stream::handover::{self, Opened};
use crate::http::stream::socket::RawConnection;
use crate::http::stream::task;
use crate::shutdown::Shutdown;

/// A stream that begins on this connection, and the head of its answer.
type Leaving = (Opened, Bytes);

/// One connection, request after request. One that becomes a stream is served without this task from then on.
pub(super) async fn converse(
    mut http: Builder,
    socket: Socket,
    peer: SocketAddr,
    routes: Router,
    stop: Shutdown,
) {
    let routes = TowerToHyperService::new(routes);
    let (place, patience, used) = (socket.place.clone(), socket.patience, socket.place.clone());
    let leaving: Arc<Mutex<Option<Leaving>>> = Arc::default();
    let leaves = leaving.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(used.clone());
        let (version, has_body, leaves) =
            (request.version(), request.method() != Method::HEAD, leaves.clone());
        // One that was sent away in this moment has asked nothing yet; below it ends.
        let answer = used.is_used().then(|| routes.call(request));
        async move {
            let Some(answer) = answer else { return pending().await };
            let mut answer = answer.await?;
            let stream = handover::take(answer.extensions_mut()).filter(|_| has_body);
            let Some(stream) = stream else { return Ok::<_, Infallible>(answer) };
            *leaves.lock() = Some((stream, head(answer, version)));
            // hyper is dropped while it waits for this.
            pending().await
        }
    });
    let mut connection = http.timer(socket.clock.clone()).serve_connection(TokioIo::new(socket), service);
    let mut stopping = pin!(stop.begun());
    let mut is_stopping = false;
    let talk = poll_fn(|context| {
        if !is_stopping && stopping.as_mut().poll(context).is_ready() {
            is_stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        let ended = Pin::new(&mut connection).poll(context);
        // In one poll with hyper, so that it does not read on.
        leaving.lock().take().map_or_else(|| ended.map(Err), |leaving| Poll::Ready(Ok(leaving)))
    });
    let talked = tokio::select! {
        talked = talk => talked,
        () = place.must_leave() => return,
    };
    // Where there was no answer, it is the peer's doing: gone in the middle, too slow, or no HTTP.
    match talked {
        Ok(leaving) => hand_over(connection.into_parts(), leaving, patience, place),
        Err(ended) => tracing::trace!(?ended, "connection ended"),
    }
}

/// Lets a stream begin on a connection that hyper has given back.
fn hand_over<S>(parts: Parts<TokioIo<Socket>, S>, leaving: Leaving, patience: Duration, place: Connection) {
    let (opened, head) = leaving;
    match parts.io.into_inner().into_tcp() {
        Ok(socket) => {
            // What was read lies in a buffer of hyper's, which is much larger.
            let read_already = Bytes::copy_from_slice(&parts.read_buf);
            task::start(opened, head, RawConnection { socket, patience, _place: place }, read_already);
        }
        Err(error) => tracing::warn!(%error, "a stream cannot be taken over"),
    }
}

/// The head of an answer without a length: what follows it is a stream.
fn head(mut answer: Response, version: Version) -> Bytes {
    *answer.version_mut() = version;
    let now = httpdate::fmt_http_date(SystemTime::now());
    // axum's router has counted the bytes of the body that it saw.
    answer.headers_mut().remove(CONTENT_LENGTH);
    answer.headers_mut().extend(HeaderValue::try_from(now).map(|now| (DATE, now)));
    let mut head = Vec::with_capacity(512);
    write_response(&mut head, &answer)
        .unwrap_or_else(|error| unreachable!("every header of a stream is ASCII: {error}"));
    head.into()
}

/// A connection with a write time-out, and its place among those that may be open.
pub(super) struct Socket {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    patience: Duration,
    clock: HeadClock,
    place: Connection,
}

impl Socket {
    /// `patience`: how long it may accept no bytes.
    pub(super) fn new(stream: TcpStream, patience: Duration, place: Connection) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            // The peer may be gone already; the next read will show it.
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(patience));
        Self { stream: Box::pin(stream), patience, clock: HeadClock::new(place.clone()), place }
    }

    /// The connection without its write time-out, which cannot be moved out of its box: a second descriptor of it.
    fn into_tcp(self) -> io::Result<TcpStream> {
        let descriptor = self.stream.get_ref().as_fd().try_clone_to_owned()?;
        drop(self);
        TcpStream::from_std(descriptor.into())
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
