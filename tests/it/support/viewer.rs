//! A browser's two ways to follow a session, and what it saw.

use std::collections::VecDeque;
use std::pin::Pin;

use futures::{SinkExt as _, Stream, StreamExt as _};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::soon;

/// One frame with content.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) id: Option<String>,
    pub(crate) event: String,
    pub(crate) data: Value,
}

/// How a stream ended: the WebSocket close code, `None` over SSE.
pub(crate) type End = Option<u16>;

enum Wire {
    Sse { chunks: Pin<Box<dyn Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>, rest: String },
    WebSocket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
}

/// One viewer on one stream.
pub(crate) struct Viewer {
    wire: Wire,
    queue: VecDeque<Seen>,
    /// The lines of SSE that are no part of a frame: `retry:` and comments.
    pub(crate) asides: Vec<String>,
    /// What the heartbeats of WebSocket said, which is nothing to a viewer.
    heartbeats: VecDeque<Value>,
}

impl Viewer {
    /// Over SSE; the status when it is not 200.
    pub(crate) async fn sse(base: &str, session: &str, cursor: Option<&str>) -> Result<Self, StatusCode> {
        let tried = soon("an SSE answer", Self::try_sse(base, session, cursor)).await;
        tried.map_err(|refused| refused.expect("the server answers"))
    }

    /// Over SSE; the status when it is not 200, none when nobody answers.
    pub(crate) async fn try_sse(
        base: &str,
        session: &str,
        cursor: Option<&str>,
    ) -> Result<Self, Option<StatusCode>> {
        let url = format!("{base}/api/sessions/{session}/events");
        Self::sse_by(reqwest::Client::new().get(url), cursor).await
    }

    /// Over SSE, by a request that has everything but the cursor.
    pub(crate) async fn sse_by(
        mut request: RequestBuilder,
        cursor: Option<&str>,
    ) -> Result<Self, Option<StatusCode>> {
        if let Some(cursor) = cursor {
            request = request.header("Last-Event-ID", cursor);
        }
        let response = request.send().await.map_err(|_| None)?;
        if response.status() == StatusCode::OK {
            assert_eq!(response.headers()["x-accel-buffering"], "no");
        }
        Self::of_answer(response).map_err(Some)
    }

    /// Over SSE, of an answer that may have come through a proxy; the status when it is not 200.
    pub(crate) fn of_answer(response: Response) -> Result<Self, StatusCode> {
        if response.status() != StatusCode::OK {
            return Err(response.status());
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache, no-transform");
        let wire = Wire::Sse { chunks: Box::pin(response.bytes_stream()), rest: String::new() };
        Ok(Self::on(wire))
    }

    /// Over WebSocket.
    pub(crate) async fn websocket(base: &str, session: &str, cursor: Option<&str>) -> Self {
        let tried = soon("an upgrade", Self::try_websocket(base, session, cursor)).await;
        tried.unwrap_or_else(|refused| panic!("no upgrade: {refused:?}"))
    }

    /// Over WebSocket; the status when there is no upgrade, none when nobody answers.
    pub(crate) async fn try_websocket(
        base: &str,
        session: &str,
        cursor: Option<&str>,
    ) -> Result<Self, Option<StatusCode>> {
        let base = base.replacen("http", "ws", 1);
        let query = cursor.map(|cursor| format!("?lastEventId={cursor}")).unwrap_or_default();
        let url = format!("{base}/api/sessions/{session}/ws{query}");
        let (socket, _) = tokio_tungstenite::connect_async(url).await.map_err(|error| match error {
            Error::Http(response) => Some(response.status()),
            _ => None,
        })?;
        Ok(Self::on(Wire::WebSocket(Box::new(socket))))
    }

    /// Over WebSocket, by a request that has everything.
    pub(crate) async fn websocket_by(request: impl IntoClientRequest + Unpin) -> Self {
        let (socket, _) = soon("an upgrade", tokio_tungstenite::connect_async(request)).await.unwrap();
        Self::on(Wire::WebSocket(Box::new(socket)))
    }

    fn on(wire: Wire) -> Self {
        Self { wire, queue: VecDeque::new(), asides: Vec::new(), heartbeats: VecDeque::new() }
    }

    /// The next frame with content, or how the stream ended.
    pub(crate) async fn next(&mut self) -> Result<Seen, End> {
        soon("a frame", self.read()).await
    }

    /// The same, however long it takes.
    pub(crate) async fn read(&mut self) -> Result<Seen, End> {
        loop {
            if let Some(seen) = self.queue.pop_front() {
                return Ok(seen);
            }
            self.hear().await?;
        }
    }

    /// The next heartbeat of a WebSocket.
    pub(crate) async fn heartbeat(&mut self) -> Value {
        let beat = async {
            while self.heartbeats.is_empty() {
                self.hear().await.expect("the stream goes on");
            }
        };
        soon("a heartbeat", beat).await;
        self.heartbeats.pop_front().unwrap()
    }

    /// Takes in what comes next, be it without content.
    async fn hear(&mut self) -> Result<(), End> {
        match &mut self.wire {
            Wire::Sse { chunks, rest } => {
                let Some(Ok(chunk)) = chunks.next().await else { return Err(None) };
                rest.push_str(std::str::from_utf8(&chunk).unwrap());
                while let Some(end) = rest.find("\n\n") {
                    let block: String = rest.drain(..end + 2).collect();
                    let is_aside = |line: &&str| line.starts_with(':') || line.starts_with("retry:");
                    self.asides.extend(block.lines().filter(is_aside).map(str::to_owned));
                    self.queue.push_back(parse(&block).unwrap_or_else(|| {
                        panic!("a block without data, an empty message to some clients: {block:?}")
                    }));
                }
            }
            Wire::WebSocket(socket) => match socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    let id = frame.get("id").map(|id| id.as_str().unwrap().to_owned());
                    let (event, data) = (frame["event"].as_str().unwrap().to_owned(), frame["data"].clone());
                    match event.as_str() {
                        "heartbeat" => self.heartbeats.push_back(frame),
                        _ => self.queue.push_back(Seen { id, event, data }),
                    }
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            },
        }
        Ok(())
    }

    /// The next frame, which must be this event.
    pub(crate) async fn expects(&mut self, event: &str) -> Seen {
        match self.next().await {
            Ok(seen) if seen.event == event => seen,
            other => panic!("expected {event}, got {other:?}"),
        }
    }

    /// Everything up to this event and with it.
    pub(crate) async fn until(&mut self, event: &str) -> Vec<Seen> {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Ok(seen) => all.push(seen),
                Err(end) => panic!("ended with {end:?} before {event}: {all:?}"),
            }
            if all.last().is_some_and(|seen| seen.event == event) {
                return all;
            }
        }
    }

    /// This event, whatever comes before it.
    pub(crate) async fn awaits(&mut self, event: &str) -> Seen {
        self.until(event).await.pop().unwrap()
    }

    /// Whether nothing more has come.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        let more = tokio::time::timeout(std::time::Duration::from_millis(200), self.read()).await;
        more.is_err()
    }

    /// The stream must end now.
    pub(crate) async fn ends(&mut self) -> End {
        match self.next().await {
            Err(end) => end,
            Ok(seen) => panic!("expected the end, got {seen:?}"),
        }
    }

    /// Sends a text, over WebSocket.
    pub(crate) async fn says(&mut self, text: String) {
        match &mut self.wire {
            Wire::WebSocket(socket) => socket.send(Message::text(text)).await.unwrap(),
            Wire::Sse { .. } => panic!("nobody speaks over SSE"),
        }
    }
}

fn parse(block: &str) -> Option<Seen> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let data = field("data: ")?;
    Some(Seen { id: field("id: "), event: field("event: ")?, data: serde_json::from_str(&data).unwrap() })
}
