//! Counts a stream for the metrics, from its opening to its end.

use metrics::{counter, gauge};

use crate::close::Close;
use crate::telemetry::metrics::{STREAMS, STREAMS_CLOSED, STREAMS_OPENED};

/// How a stream reaches its viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Server-Sent Events.
    Sse,
    /// WebSocket.
    WebSocket,
}

impl Transport {
    /// The word for it in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::WebSocket => "websocket",
        }
    }
}

/// Counts one open stream until it is dropped. It is dropped with the task that serves the stream, so a viewer that
/// just disconnects is counted as well.
#[derive(Debug)]
pub(crate) struct StreamGuard {
    transport: Transport,
    end: Option<Close>,
}

impl StreamGuard {
    /// Counts one more open stream.
    pub(crate) fn new(transport: Transport) -> Self {
        counter!(STREAMS_OPENED, "transport" => transport.as_str()).increment(1);
        gauge!(STREAMS, "transport" => transport.as_str()).increment(1.0);
        Self { transport, end: None }
    }

    /// Notes why the stream ends. Only the first call counts.
    pub(crate) fn closes(&mut self, end: Close) {
        self.end.get_or_insert(end);
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    /// Why the stream ends, as far as that is known.
    pub(super) fn reason(&self) -> &'static str {
        self.end.map_or("gone", Close::as_str)
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let transport = self.transport.as_str();
        gauge!(STREAMS, "transport" => transport).decrement(1.0);
        counter!(STREAMS_CLOSED, "transport" => transport, "reason" => self.reason()).increment(1);
    }
}
