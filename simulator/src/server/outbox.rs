//! Frames on their way into WebSocket messages. Usually one is the other; when the network splits, a frame may end in
//! another message than it began in, and a message may hold several frames: the stream of bytes is the same.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Smaller stanzas are not worth compressing.
const WORTH: usize = 128;
/// Flag in the first byte of a stanza: what follows is compressed.
/// Source: `wacore-binary` 0.7.0 `util.rs` (`unpack`).
const ZLIB: u8 = 2;
/// Length of the first piece: it ends within the three length bytes of a frame.
const SHORT: usize = 2;

/// The frames of this step that are not sent yet.
#[derive(Default)]
pub(super) struct Outbox {
    frames: Vec<u8>,
    /// How often it was emptied.
    emptied: usize,
}

impl Outbox {
    pub(super) fn put(&mut self, frame: &[u8]) {
        self.frames.extend_from_slice(frame);
    }

    /// The messages in which everything is sent. The first time, with the ServerHello, and then every other time it is
    /// three, cut in the first frame's length bytes and in the middle of what is left; in between it is one.
    pub(super) fn empty(&mut self) -> Vec<Vec<u8>> {
        if self.frames.is_empty() {
            return Vec::new();
        }
        let mut first = std::mem::take(&mut self.frames);
        let whole = self.emptied % 2 == 1;
        self.emptied += 1;
        if whole {
            return vec![first];
        }
        let mut second = first.split_off(SHORT.min(first.len()));
        let third = second.split_off(second.len() / 2);
        [first, second, third].into_iter().filter(|piece| !piece.is_empty()).collect()
    }
}

/// Compresses an encoded stanza, if it is worth it.
pub(super) fn compress(plain: Vec<u8>) -> Vec<u8> {
    let Some((_flag, stanza)) = plain.split_first().filter(|_| plain.len() >= WORTH) else { return plain };
    let mut encoder = ZlibEncoder::new(vec![ZLIB], Compression::fast());
    match encoder.write_all(stanza).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed,
        // Writing to memory does not fail; if it ever does, the plain stanza is as good.
        Err(_) => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::{Outbox, compress};

    #[test]
    fn messages_are_cut_and_whole_in_turn_and_the_bytes_stay_the_same() {
        let mut outbox = Outbox::default();
        assert!(outbox.empty().is_empty());
        for pieces in [3, 1, 3] {
            outbox.put(&[0, 0, 4, 1, 2, 3, 4]);
            outbox.put(&[0, 0, 1, 9]);
            let messages = outbox.empty();
            assert_eq!(messages.len(), pieces);
            assert_eq!(messages.concat(), [0, 0, 4, 1, 2, 3, 4, 0, 0, 1, 9]);
        }
    }

    #[test]
    fn the_client_opens_what_is_compressed() {
        let plain: Vec<u8> = std::iter::once(0).chain([7; 500]).collect();
        let packed = compress(plain.clone());
        assert!(packed.len() < plain.len());
        assert_eq!(wacore_binary::util::unpack(&packed).unwrap(), &plain[1..]);
        assert_eq!(compress(vec![0, 1, 2]), [0, 1, 2]);
    }
}
