//! What a browser sends on its stream: nothing but signs of life, and its end.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use axum::body::Bytes;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use super::socket::StreamSocket;
use crate::close::Close;
use crate::stream::guard::Transport;

/// Most that a client may send at once, in bytes: it has nothing to say.
const MAX_INCOMING: usize = 4 * 1024;

/// tungstenite would reserve 128 KiB for reading, per connection; a viewer sends control frames.
const READ_BUFFER: usize = 512;

/// How many messages are read before other streams have a turn.
const BATCH: usize = 16;

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing that matters.
    Nothing,
    /// The peer has closed the WebSocket, and the answer is on its way.
    Closing,
    /// The peer is gone.
    Gone,
    /// The peer did what cannot be read on from.
    Fault(Close),
}

/// What reads from one socket.
pub(super) enum Incoming {
    /// SSE: whatever comes is thrown away.
    Silence,
    /// Made when the first bytes come: most viewers are silent until the first ping.
    Expected { read_already: Bytes },
    /// Reads frames, and answers pings and closes by itself.
    WebSocket {
        socket: Box<WebSocket<Peer>>,
        /// It was left before it had nothing more: what it holds makes the socket say nothing.
        has_more: bool,
    },
}

/// The peer of a stream, as tungstenite wants it. What it writes goes the way of all frames.
pub(super) struct Peer(Arc<StreamSocket>);

impl Incoming {
    /// `read_already`: what hyper has read beyond the request.
    pub(super) fn new(transport: Transport, read_already: Bytes) -> Self {
        match transport {
            Transport::Sse => Self::Silence,
            Transport::WebSocket => Self::Expected { read_already },
        }
    }

    /// Whether there may be something to read though the socket does not say so.
    pub(super) fn has_bytes(&self) -> bool {
        match self {
            Self::Silence => false,
            Self::Expected { read_already } => !read_already.is_empty(),
            Self::WebSocket { has_more, .. } => *has_more,
        }
    }

    /// Reads what has come, as long as the peer takes what this makes.
    pub(super) fn read(&mut self, stream: &Arc<StreamSocket>) -> Heard {
        if let Self::Expected { read_already } = self {
            let socket = Box::new(websocket(stream.clone(), std::mem::take(read_already)));
            *self = Self::WebSocket { socket, has_more: true };
        }
        for _ in 0..BATCH {
            // A peer that asks and does not listen is not read: there would be an answer to keep for each of its pings.
            if stream.is_full() {
                return Heard::Nothing;
            }
            let heard = match self {
                Self::WebSocket { socket, .. } => message(socket, stream),
                _ => silence(stream),
            };
            if let Self::WebSocket { has_more, .. } = self {
                *has_more = heard.is_some();
            }
            match heard {
                Some(Heard::Nothing) => {}
                heard => return heard.unwrap_or(Heard::Nothing),
            }
        }
        Heard::Nothing
    }
}

fn silence(stream: &StreamSocket) -> Option<Heard> {
    match stream.socket().try_read(&mut [0; READ_BUFFER]) {
        Ok(0) => Some(Heard::Gone),
        Ok(_) => Some(Heard::Nothing),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(_) => Some(Heard::Gone),
    }
}

fn websocket(stream: Arc<StreamSocket>, read_already: Bytes) -> WebSocket<Peer> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        // Each frame is written at once.
        .write_buffer_size(0)
        .max_message_size(Some(MAX_INCOMING))
        .max_frame_size(Some(MAX_INCOMING));
    WebSocket::from_partially_read(Peer(stream), read_already.to_vec(), Role::Server, Some(config))
}

/// One message; `None` when there is none.
fn message(socket: &mut WebSocket<Peer>, stream: &StreamSocket) -> Option<Heard> {
    Some(match socket.read() {
        Ok(Message::Pong(_)) => {
            stream.pong_came();
            Heard::Nothing
        }
        Ok(Message::Close(_)) => {
            // The same frame has to go out: RFC 6455, section 5.5.1. Nothing stops a write to memory.
            let _ = socket.flush();
            Heard::Closing
        }
        Ok(Message::Ping(_)) => {
            let _ = socket.flush();
            Heard::Nothing
        }
        // A client has nothing else to say.
        Ok(_) => Heard::Nothing,
        Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return None,
        Err(error) => fault(&error).map_or(Heard::Gone, Heard::Fault),
    })
}

/// What a viewer did wrong whose bytes cannot be read; `None` when it is just gone.
fn fault(error: &Error) -> Option<Close> {
    match error {
        Error::Capacity(_) => Some(Close::TooBig),
        Error::Utf8(_) => Some(Close::NoText),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(Close::Broken),
        _ => None,
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.socket().try_read(buffer)
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.answers(Bytes::copy_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
