//! As much HTTP as the control API needs.

use serde_json::Value;
use simulator::Simulator;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One request; status and JSON body of the answer.
pub(crate) async fn request(simulator: &Simulator, method: &str, path: &str, body: &str) -> (u16, Value) {
    let (status, _, body) = exchange(simulator, method, path, body).await.unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

/// One request; status, head and body of the answer.
pub(crate) async fn exchange(
    simulator: &Simulator,
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<(u16, String, String)> {
    let mut stream = TcpStream::connect(simulator.addr()).await?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: simulator\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    Ok((status, head.to_owned(), body.to_owned()))
}

pub(crate) async fn post(simulator: &Simulator, path: &str, body: Value) -> (u16, Value) {
    request(simulator, "POST", path, &body.to_string()).await
}

pub(crate) async fn state(simulator: &Simulator) -> Value {
    request(simulator, "GET", "/control/state", "").await.1
}
