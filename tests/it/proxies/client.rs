//! Somebody who reaches a server through a proxy, over TLS and from an address of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::header::{HOST, HeaderMap};
use reqwest::{Method, RequestBuilder, Response};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::Request;

use super::front::Front;
use crate::support::{Viewer, soon};

/// The clients of the tests speak no TLS: a tunnel does it for them.
pub(super) struct Client {
    tunnel: String,
    /// The proxy as a browser names it, with its port.
    host: String,
    http: reqwest::Client,
}

impl Client {
    /// From an address of loopback.
    pub(super) async fn from(address: &str, front: &Front) -> Self {
        let host = front.base.strip_prefix("https://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tunnel = listener.local_addr().unwrap().to_string();
        let connector = trusting(front);
        let from: SocketAddr = format!("{address}:0").parse().unwrap();
        let to: SocketAddr = host.replace("localhost", "127.0.0.1").parse().unwrap();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let connector = connector.clone();
                tokio::spawn(async move {
                    let socket = TcpSocket::new_v4().unwrap();
                    socket.bind(from).unwrap();
                    let far = socket.connect(to).await.unwrap();
                    let mut far = connector.connect("localhost".try_into().unwrap(), far).await.unwrap();
                    // Either side may leave as it likes.
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Self { tunnel, host, http }
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.tunnel)).header(HOST, &self.host)
    }

    pub(super) async fn get(&self, path: &str) -> Response {
        soon(path, self.request(Method::GET, path).send()).await.unwrap()
    }

    pub(super) async fn sse(&self, path: &str) -> Viewer {
        Viewer::of_answer(self.get(path).await).unwrap()
    }

    /// Over WebSocket, as a page of this origin and with what else it sends.
    pub(super) async fn websocket(&self, path: &str, origin: &str, headers: HeaderMap) -> Viewer {
        Viewer::websocket_by(self.handshake(path, origin, headers)).await
    }

    /// The status of the refusal.
    pub(super) async fn refused_websocket(&self, path: &str, origin: &str) -> u16 {
        let request = self.handshake(path, origin, HeaderMap::new());
        match soon("an answer", tokio_tungstenite::connect_async(request)).await {
            Err(Error::Http(answer)) => answer.status().as_u16(),
            other => panic!("{other:?}"),
        }
    }

    fn handshake(&self, path: &str, origin: &str, headers: HeaderMap) -> Request<()> {
        let mut request = format!("ws://{}{path}", self.tunnel).into_client_request().unwrap();
        request.headers_mut().insert(HOST, self.host.parse().unwrap());
        request.headers_mut().insert("origin", origin.parse().unwrap());
        request.headers_mut().extend(headers);
        request
    }
}

fn trusting(front: &Front) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(front.certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
