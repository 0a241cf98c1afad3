//! A client made by hand from the real client's parts, so that it can break the rules.

use std::collections::VecDeque;

use futures::{SinkExt as _, StreamExt as _};
use simulator::{Scan, Simulator};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};
use wacore::companion_reg::CompanionWebClientType;
use wacore::framing::{FrameDecoder, encode_frame};
use wacore::libsignal::protocol::KeyPair;
use wacore::noise::{NoiseCipher, XxHandshakeState};
use wacore::pair::{DeviceState, PairUtils};
use wacore::store::Device;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::consts::WA_CONN_HEADER;
use wacore_binary::{Node, OwnedNodeRef, marshal};
use waproto::buffa::Message as _;
use waproto::whatsapp::ClientPayload;

use crate::DEADLINE;

/// A connection after its handshake.
pub(crate) struct Raw {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    incoming: Incoming,
    /// How many stanzas came compressed.
    pub(crate) compressed: usize,
    write: NoiseCipher,
    read: NoiseCipher,
    sent: u32,
    received: u32,
}

impl Raw {
    /// Shakes hands by XX with this key and payload.
    pub(crate) async fn connect(simulator: &Simulator, noise: &KeyPair, payload: &ClientPayload) -> Self {
        let (mut socket, _) = ClientBuilder::new().uri(&simulator.url()).unwrap().connect().await.unwrap();
        let mut handshake =
            XxHandshakeState::new(noise.clone(), payload.encode_to_vec(), &WA_CONN_HEADER).unwrap();
        let hello = encode_frame(&handshake.build_client_hello().unwrap(), Some(&WA_CONN_HEADER)).unwrap();
        socket.send(Message::binary(hello)).await.unwrap();
        let mut incoming = Incoming::default();
        let server_hello = incoming.next_frame(&mut socket).await.expect("a server hello");
        let finish = handshake.read_server_hello_and_build_client_finish(&server_hello).unwrap();
        socket.send(Message::binary(encode_frame(&finish, None).unwrap())).await.unwrap();
        let outcome = handshake.finish().unwrap();
        Self {
            socket,
            incoming,
            compressed: 0,
            write: outcome.write_cipher,
            read: outcome.read_cipher,
            sent: 0,
            received: 0,
        }
    }

    /// How many frames ended in each message.
    pub(crate) fn tally(&self) -> &[usize] {
        &self.incoming.tally
    }

    pub(crate) async fn says(&mut self, node: Node) {
        let counter = self.sent;
        self.sent += 1;
        self.says_under(counter, node).await;
    }

    /// Seals with a counter of one's own choice.
    pub(crate) async fn says_under(&mut self, counter: u32, node: Node) {
        let sealed = self.write.encrypt_with_counter(counter, &marshal(&node).unwrap()).unwrap();
        self.socket.send(Message::binary(encode_frame(&sealed, None).unwrap())).await.unwrap();
    }

    /// The next stanza; `None` when the server has closed.
    pub(crate) async fn hears(&mut self) -> Option<Node> {
        let mut body = self.incoming.next_frame(&mut self.socket).await?;
        self.read.decrypt_in_place_with_counter(self.received, &mut body).unwrap();
        self.received += 1;
        self.compressed += usize::from(body[0] & 2 != 0);
        let plain = wacore_binary::util::unpack(&body).unwrap().into_owned();
        Some(OwnedNodeRef::new(plain).unwrap().to_owned_node())
    }

    /// Skips stanzas up to one of this tag.
    pub(crate) async fn hears_a(&mut self, tag: &str) -> Node {
        loop {
            let node = self.hears().await.unwrap_or_else(|| panic!("closed before <{tag}>"));
            if node.tag == tag {
                return node;
            }
        }
    }

    /// Asks and returns the answer to this id.
    pub(crate) async fn asks(&mut self, id: &str, iq: NodeBuilder) -> Node {
        self.says(iq.attr("id", id).build()).await;
        loop {
            let answer = self.hears_a("iq").await;
            if attr(&answer, "id") == id {
                return answer;
            }
        }
    }
}

/// What has come.
#[derive(Default)]
struct Incoming {
    frames: VecDeque<Vec<u8>>,
    decoder: FrameDecoder,
    tally: Vec<usize>,
}

impl Incoming {
    async fn next_frame(
        &mut self,
        socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>,
    ) -> Option<Vec<u8>> {
        loop {
            if let Some(body) = self.frames.pop_front() {
                return Some(body);
            }
            let message = timeout(DEADLINE, socket.next()).await.expect("the server says nothing")?.ok()?;
            self.decoder.feed(message.as_payload());
            let before = self.frames.len();
            self.frames.extend(std::iter::from_fn(|| self.decoder.decode_frame()).map(|body| body.to_vec()));
            if message.is_binary() {
                self.tally.push(self.frames.len() - before);
            }
        }
    }
}

pub(crate) fn attr(node: &Node, name: &str) -> String {
    node.attrs.get(name).map(|value| value.as_str().into_owned()).unwrap_or_default()
}

/// Code of the `<error>` in a refused iq.
pub(crate) fn error_code(iq: &Node) -> String {
    iq.get_optional_child("error").map(|error| attr(error, "code")).unwrap_or_default()
}

/// Registers `device`, has a phone scan it, and returns the connection with the offer it has to sign.
#[expect(clippy::disallowed_methods, reason = "whoever calls this waits for the scan")]
pub(crate) async fn offered(
    simulator: &Simulator,
    device: &Device,
) -> (Raw, Node, tokio::task::JoinHandle<ScanResult>) {
    let mut raw = Raw::connect(simulator, &device.noise_key, &device.get_client_payload()).await;
    let pair_device = raw.hears_a("iq").await;
    let reference =
        pair_device.get_optional_child_by_tag(&["pair-device", "ref"]).unwrap().content_as_string().unwrap();
    let qr = PairUtils::make_qr_data(&keys(device), &reference, CompanionWebClientType::OtherWebClient);
    let scanning = simulator.scanning(Scan { qr, ..Scan::default() });
    let scanning = tokio::spawn(scanning);
    let pair_success = raw.hears_a("iq").await;
    (raw, pair_success, scanning)
}

pub(crate) type ScanResult = Result<String, simulator::LinkError>;

/// Signs the offer in `pair_success`; the signed identity and its key index.
pub(crate) fn sign(device: &Device, pair_success: &Node) -> (Vec<u8>, u32) {
    let node = pair_success.as_node_ref();
    let success = node.get_optional_child("pair-success").unwrap();
    let container = PairUtils::extract_device_identity_bytes(success).unwrap();
    PairUtils::do_pair_crypto(&keys(device), container).unwrap()
}

fn keys(device: &Device) -> DeviceState {
    DeviceState {
        identity_key: device.identity_key.clone(),
        noise_key: device.noise_key.clone(),
        adv_secret_key: device.adv_secret_key,
    }
}

/// A device made by hand that is linked; it can log in with [`login`].
pub(crate) async fn linked(simulator: &Simulator) -> Device {
    let mut device = Device::new();
    let (mut raw, pair_success, scanning) = offered(simulator, &device).await;
    let (signed, index) = sign(&device, &pair_success);
    raw.says(PairUtils::build_pair_success_response(&attr(&pair_success, "id"), signed, index)).await;
    let jid = scanning.await.unwrap().unwrap();
    assert_eq!(attr(&raw.hears_a("stream:error").await, "code"), "515");
    device.pn = Some(jid.parse().unwrap());
    device
}

/// Logs a device in.
pub(crate) async fn login(simulator: &Simulator, device: &Device) -> Raw {
    let mut raw = Raw::connect(simulator, &device.noise_key, &device.get_client_payload()).await;
    raw.hears_a("success").await;
    raw
}
