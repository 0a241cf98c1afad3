//! The byte stream below Noise: the optional routing pre-intro, the intro `WA 06 03`, then frames with three length bytes.
//! WebSocket message boundaries mean nothing; bytes are fed as they come.
//!
//! Source: `wacore-noise` 0.7.0 `edge_routing.rs`, `framing.rs`.

use wacore::framing::FrameDecoder;
use wacore_binary::consts::WA_CONN_HEADER;

/// Starts the routing pre-intro; three length bytes and the routing bytes follow.
const PRE_INTRO: [u8; 4] = [b'E', b'D', 0, 1];

/// The client does not speak this protocol.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the stream does not begin with ED 00 01 or WA 06 03")]
pub(crate) struct BadIntro;

/// Splits a client's bytes into frames.
#[derive(Default)]
pub(crate) struct Wire {
    /// Bytes before the end of the intro.
    intro: Vec<u8>,
    greeted: bool,
    frames: FrameDecoder,
}

impl Wire {
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), BadIntro> {
        if self.greeted {
            self.frames.feed(bytes);
            return Ok(());
        }
        self.intro.extend_from_slice(bytes);
        self.read_intro()
    }

    /// The next whole frame body.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        self.frames.decode_frame().map(|body| body.to_vec())
    }

    fn read_intro(&mut self) -> Result<(), BadIntro> {
        let mut rest = self.intro.as_slice();
        if rest.first() == PRE_INTRO.first() {
            expect(rest, &PRE_INTRO)?;
            let Some(after) = after_routing(rest) else { return Ok(()) };
            rest = after;
        }
        expect(rest, &WA_CONN_HEADER)?;
        if let Some(frames) = rest.strip_prefix(&WA_CONN_HEADER) {
            self.greeted = true;
            self.frames.feed(frames);
            self.intro = Vec::new();
        }
        Ok(())
    }
}

/// What follows a whole pre-intro.
fn after_routing(bytes: &[u8]) -> Option<&[u8]> {
    let [_, _, _, _, a, b, c, after @ ..] = bytes else { return None };
    after.get(usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c)..)
}

/// An error unless `bytes`, as far as they have come, begin with `intro`.
fn expect(bytes: &[u8], intro: &[u8]) -> Result<(), BadIntro> {
    match bytes.iter().zip(intro).all(|(a, b)| a == b) {
        true => Ok(()),
        false => Err(BadIntro),
    }
}

#[cfg(test)]
mod tests {
    use super::{BadIntro, Wire};

    fn frames(chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, BadIntro> {
        let mut wire = Wire::default();
        chunks.iter().try_for_each(|chunk| wire.feed(chunk))?;
        Ok(std::iter::from_fn(|| wire.next()).collect())
    }

    #[test]
    fn message_boundaries_mean_nothing() {
        let all = [b'W', b'A', 6, 3, 0, 0, 2, 7, 8, 0, 0, 1, 9];
        let bytes: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(frames(&bytes), Ok(vec![vec![7, 8], vec![9]]));
        assert_eq!(frames(&[&all]), Ok(vec![vec![7, 8], vec![9]]));
    }

    #[test]
    fn routing_bytes_may_come_first() {
        let all = [b'E', b'D', 0, 1, 0, 0, 3, 1, 2, 3, b'W', b'A', 6, 3, 0, 0, 1, 9];
        let bytes: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(frames(&bytes), Ok(vec![vec![9]]));
        assert_eq!(frames(&[&all]), Ok(vec![vec![9]]));
    }

    #[test]
    fn another_protocol_is_refused() {
        assert_eq!(frames(&[b"GET /"]), Err(BadIntro));
        assert_eq!(frames(&[&[b'W', b'A', 5, 2]]), Err(BadIntro));
        assert_eq!(frames(&[&[b'E', b'D', 0, 1, 0, 0, 1, 1, b'X']]), Err(BadIntro));
    }
}
