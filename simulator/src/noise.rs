//! Noise as WhatsApp's server speaks it: the responder's side of XX, IK and XXfallback, and the sealed frames after it.
//! It knows no stanza and no account; `server::serve` feeds it frames and gets frames and a [`Hello`] back.
//!
//! Source: `wacore-noise` 0.7.0 `handshake.rs` (the initiator this must answer) and the Noise specification, revision 34.

mod chain;

use std::sync::Arc;

use buffa::{Message as _, MessageField};
use wacore::libsignal::protocol::KeyPair;
use wacore::noise::{NoiseCipher, NoiseHandshake};
use wacore_binary::Jid;
use wacore_binary::consts::{NOISE_PATTERN_IK, NOISE_PATTERN_XX, NOISE_PATTERN_XXFALLBACK, WA_CONN_HEADER};
use waproto::whatsapp::{ClientPayload, HandshakeMessage, handshake_message::ServerHello};

pub(crate) use chain::ServerIdentity;

/// Why a handshake or a frame was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoiseError {
    #[error("not a handshake message: {0}")]
    Malformed(#[from] buffa::DecodeError),
    #[error("the handshake message lacks {0}")]
    Missing(&'static str),
    #[error("the handshake does not hold: {0}")]
    Handshake(#[from] wacore::noise::HandshakeError),
    #[error("frame {counter} does not open under its counter: {source}")]
    Frame { counter: u32, source: wacore::noise::NoiseError },
    #[error("the frame could not be sealed: {0}")]
    Seal(wacore::noise::NoiseError),
    #[error("a frame is larger than 16 MiB")]
    TooLarge,
}

/// Which handshake the client chose, or was led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// First contact: the client does not know the server's key.
    Xx,
    /// One round trip, with the key the client kept from before.
    Ik,
    /// The key that the client kept is no longer ours.
    XxFallback,
}

/// Who is on the other end, proven by the handshake.
pub(crate) struct Hello {
    pub(crate) pattern: Pattern,
    pub(crate) client_static: [u8; 32],
    pub(crate) payload: ClientPayload,
}

impl Hello {
    /// The device that the client says it is, if it says that it is one.
    pub(crate) fn claimed_jid(&self) -> Jid {
        let device = self.payload.device.and_then(|device| u16::try_from(device).ok()).unwrap_or_default();
        Jid::pn_device(self.payload.username.unwrap_or_default().to_string(), device)
    }
}

/// What to do after a frame was read.
pub(crate) enum Step {
    /// Send this frame body and wait for the client's finish.
    Reply(Vec<u8>),
    /// The handshake is complete; send `reply` first if there is one.
    Open { reply: Option<Vec<u8>>, transport: Transport, hello: Box<Hello> },
}

/// The responder: fed the client's handshake frames in order.
pub(crate) struct Responder {
    identity: Arc<ServerIdentity>,
    finish: Option<AwaitingFinish>,
}

struct AwaitingFinish {
    noise: NoiseHandshake,
    ephemeral: KeyPair,
    pattern: Pattern,
}

impl Responder {
    pub(crate) fn new(identity: Arc<ServerIdentity>) -> Self {
        Self { identity, finish: None }
    }

    /// Reads one handshake frame.
    pub(crate) fn read(&mut self, frame: &[u8]) -> Result<Step, NoiseError> {
        let message = HandshakeMessage::decode_from_slice(frame)?;
        if let Some(waiting) = self.finish.take() {
            return read_finish(waiting, &message);
        }
        let hello = message.client_hello.as_option().ok_or(NoiseError::Missing("client_hello"))?;
        let client = hello.ephemeral.as_deref().ok_or(NoiseError::Missing("ephemeral"))?;
        match (hello.r#static.as_deref(), hello.payload.as_deref()) {
            (Some(sealed_static), Some(sealed_payload)) => match self.open_ik(client, sealed_static)? {
                Some((noise, client_static)) => self.answer_ik(noise, client, client_static, sealed_payload),
                None => self.answer_xx(NOISE_PATTERN_XXFALLBACK, Pattern::XxFallback, client),
            },
            _ => self.answer_xx(NOISE_PATTERN_XX, Pattern::Xx, client),
        }
    }

    /// `None` if the hello was sealed to a key that is not ours, which XXfallback handles.
    fn open_ik(
        &self,
        client: &[u8],
        sealed_static: &[u8],
    ) -> Result<Option<(NoiseHandshake, [u8; 32])>, NoiseError> {
        let own = &self.identity.static_key;
        let mut noise = NoiseHandshake::new(NOISE_PATTERN_IK, &WA_CONN_HEADER)?;
        noise.authenticate(own.public_key.public_key_bytes());
        noise.authenticate(client);
        noise.mix_shared_secret(own.private_key.serialize(), client)?;
        let Ok(client_static) = noise.decrypt(sealed_static) else { return Ok(None) };
        let client_static = key(&client_static, "static key of 32 bytes")?;
        noise.mix_shared_secret(own.private_key.serialize(), &client_static)?;
        Ok(Some((noise, client_static)))
    }

    fn answer_ik(
        &self,
        mut noise: NoiseHandshake,
        client: &[u8],
        client_static: [u8; 32],
        sealed_payload: &[u8],
    ) -> Result<Step, NoiseError> {
        let payload = ClientPayload::decode_from_slice(&noise.decrypt(sealed_payload)?)?;
        let ephemeral = KeyPair::generate(&mut rand::rng());
        noise.authenticate(ephemeral.public_key.public_key_bytes());
        noise.mix_shared_secret(ephemeral.private_key.serialize(), client)?;
        noise.mix_shared_secret(ephemeral.private_key.serialize(), &client_static)?;
        let chain = noise.encrypt(&self.identity.chain)?;
        let reply = server_hello(&ephemeral, None, chain);
        let transport = Transport::new(noise)?;
        let hello = Box::new(Hello { pattern: Pattern::Ik, client_static, payload });
        Ok(Step::Open { reply: Some(reply), transport, hello })
    }

    fn answer_xx(&mut self, name: &str, pattern: Pattern, client: &[u8]) -> Result<Step, NoiseError> {
        let own = &self.identity.static_key;
        let ephemeral = KeyPair::generate(&mut rand::rng());
        let mut noise = NoiseHandshake::new(name, &WA_CONN_HEADER)?;
        noise.authenticate(client);
        noise.authenticate(ephemeral.public_key.public_key_bytes());
        noise.mix_shared_secret(ephemeral.private_key.serialize(), client)?;
        let sealed_static = noise.encrypt(own.public_key.public_key_bytes())?;
        noise.mix_shared_secret(own.private_key.serialize(), client)?;
        let chain = noise.encrypt(&self.identity.chain)?;
        let reply = server_hello(&ephemeral, Some(sealed_static), chain);
        self.finish = Some(AwaitingFinish { noise, ephemeral, pattern });
        Ok(Step::Reply(reply))
    }
}

fn read_finish(waiting: AwaitingFinish, message: &HandshakeMessage) -> Result<Step, NoiseError> {
    let AwaitingFinish { mut noise, ephemeral, pattern } = waiting;
    let finish = message.client_finish.as_option().ok_or(NoiseError::Missing("client_finish"))?;
    let sealed_static = finish.r#static.as_deref().ok_or(NoiseError::Missing("static"))?;
    let sealed_payload = finish.payload.as_deref().ok_or(NoiseError::Missing("payload"))?;
    let client_static = key(&noise.decrypt(sealed_static)?, "static key of 32 bytes")?;
    noise.mix_shared_secret(ephemeral.private_key.serialize(), &client_static)?;
    let payload = ClientPayload::decode_from_slice(&noise.decrypt(sealed_payload)?)?;
    let transport = Transport::new(noise)?;
    Ok(Step::Open { reply: None, transport, hello: Box::new(Hello { pattern, client_static, payload }) })
}

fn server_hello(ephemeral: &KeyPair, sealed_static: Option<Vec<u8>>, payload: Vec<u8>) -> Vec<u8> {
    HandshakeMessage {
        server_hello: MessageField::some(ServerHello {
            ephemeral: Some(ephemeral.public_key.public_key_bytes().to_vec()),
            r#static: sealed_static,
            payload: Some(payload),
            ..Default::default()
        }),
        ..Default::default()
    }
    .encode_to_vec()
}

fn key(bytes: &[u8], what: &'static str) -> Result<[u8; 32], NoiseError> {
    bytes.try_into().map_err(|_| NoiseError::Missing(what))
}

/// The two ciphers after the handshake, each with its own counter from 0.
pub(crate) struct Transport {
    write: NoiseCipher,
    read: NoiseCipher,
    sent: u32,
    received: u32,
}

impl Transport {
    /// The handshake names its ciphers from the initiator's side; the responder writes with what that one reads.
    fn new(noise: NoiseHandshake) -> Result<Self, NoiseError> {
        let (client_writes, client_reads) = noise.finish()?;
        Ok(Self { write: client_reads, read: client_writes, sent: 0, received: 0 })
    }

    /// Seals one frame body.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let sealed = self.write.encrypt_with_counter(self.sent, plain).map_err(NoiseError::Seal)?;
        self.sent += 1;
        Ok(sealed)
    }

    /// Opens the client's next frame body in place: a frame that is repeated, skipped or forged does not open.
    pub(crate) fn open(&mut self, body: &mut Vec<u8>) -> Result<(), NoiseError> {
        let counter = self.received;
        self.read
            .decrypt_in_place_with_counter(counter, body)
            .map_err(|source| NoiseError::Frame { counter, source })?;
        self.received += 1;
        Ok(())
    }
}

/// Puts the three length bytes before a frame body.
pub(crate) fn frame(body: &[u8]) -> Result<Vec<u8>, NoiseError> {
    wacore::framing::encode_frame(body, None).map_err(|_| NoiseError::TooLarge)
}
