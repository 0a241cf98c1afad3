//! How keys are made: one value as it is, or several in one string of bytes that only these values give.
//!
//! A key of several parts is each part but the last with its length (4 bytes, big endian) before it, then the
//! last part as it is. Where the lengths are read from the left, no two lists of parts give the same bytes,
//! whatever is in them, and all keys with the same first part begin with [`first`] of it and no others do.
//! Within one table all keys are of one shape.

use super::engine::Key;

/// A name, an address, an id: the bytes of the text.
pub(super) fn text(value: &str) -> Key {
    value.as_bytes().to_vec()
}

/// A number: 4 bytes, big endian.
pub(super) fn number(value: u32) -> Key {
    value.to_be_bytes().to_vec()
}

/// The number in a key of [`number`].
pub(super) fn to_number(key: &[u8]) -> Option<u32> {
    key.try_into().ok().map(u32::from_be_bytes)
}

/// Two parts.
pub(super) fn pair(one: &str, last: &[u8]) -> Key {
    let mut key = first(one);
    key.extend_from_slice(last);
    key
}

/// Three parts.
pub(super) fn triple(one: &str, two: &str, last: &str) -> Key {
    let mut key = first(one);
    key.extend(pair(two, last.as_bytes()));
    key
}

/// What all keys with this first part begin with.
pub(super) fn first(one: &str) -> Key {
    // No part is anywhere near 4 GiB: the library gets them in stanzas of at most 16 MiB.
    let length = u32::try_from(one.len()).unwrap_or(u32::MAX);
    let mut key = Vec::with_capacity(4 + one.len() + 64);
    key.extend_from_slice(&length.to_be_bytes());
    key.extend_from_slice(one.as_bytes());
    key
}

/// The last part of a [`pair`] of two texts.
pub(super) fn second(key: &[u8]) -> Option<&str> {
    let (length, rest) = key.split_first_chunk::<4>()?;
    let last = rest.get(u32::from_be_bytes(*length) as usize..)?;
    std::str::from_utf8(last).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_parts_make_different_keys() {
        let parts = ["", "a", "ab", "b", "\0", "\0\0\0\u{1}a", "a\0\0\0\u{1}"];
        let mut seen = std::collections::HashSet::new();
        for one in parts {
            for two in parts {
                assert!(seen.insert(pair(one, two.as_bytes())), "{one:?} {two:?}");
                assert_eq!(second(&pair(one, two.as_bytes())), Some(two));
            }
        }
        seen.clear();
        for one in parts {
            for two in parts {
                for three in parts {
                    assert!(seen.insert(triple(one, two, three)), "{one:?} {two:?} {three:?}");
                }
            }
        }
    }

    #[test]
    fn a_first_part_is_the_beginning_of_its_own_keys_only() {
        assert!(pair("group", b"x").starts_with(&first("group")));
        assert!(!pair("group1", b"x").starts_with(&first("group")));
        assert!(!pair("grou", b"px").starts_with(&first("group")));
    }

    #[test]
    fn numbers_are_read_back_and_nothing_else_is() {
        assert_eq!(to_number(&number(812)), Some(812));
        assert_eq!(to_number(b"812"), None);
        assert_eq!(second(b"\0\0\0\x09ab"), None);
    }
}
