//! As much HTTP as the control API needs.

use serde_json::Value;
use simulator::Simulator;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One request; status and JSON body of the answer.
pub(crate) async fn request(simulator: &Simulator, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: simulator\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

pub(crate) async fn post(simulator: &Simulator, path: &str, body: Value) -> (u16, Value) {
    request(simulator, "POST", path, &body.to_string()).await
}

pub(crate) async fn state(simulator: &Simulator) -> Value {
    request(simulator, "GET", "/control/state", "").await.1
}
