//! The listening socket: connections that take no bytes for too long are closed, whatever they speak.
//!
//! A body or a WebSocket cannot notice that by itself: while the peer's window is shut, nobody asks it for more.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;

/// A TCP listener whose connections have a write time-out.
pub struct PatientListener {
    tcp: TcpListener,
    patience: Duration,
}

impl PatientListener {
    /// Closes a connection that accepts no bytes for `patience` while there are some to send.
    pub fn new(tcp: TcpListener, patience: Duration) -> Self {
        Self { tcp, patience }
    }
}

impl Listener for PatientListener {
    type Io = Pin<Box<TimeoutStream<TcpStream>>>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // axum's own: goes on after errors of one connection, waits when descriptors run out.
        let (stream, peer) = Listener::accept(&mut self.tcp).await;
        if let Err(error) = stream.set_nodelay(true) {
            // The peer may be gone already; whoever reads will see.
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.patience));
        (Box::pin(stream), peer)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        TcpListener::local_addr(&self.tcp)
    }
}
