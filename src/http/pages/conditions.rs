//! What a client says of the encodings that it takes, and of the copy that it has. `pages` asks.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is.
    Identity,
    Gzip,
    Brotli,
}

impl Coding {
    /// What `Content-Encoding` says.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Brotli => Some("br"),
        }
    }
}

/// How much the client likes an encoding, in thousandths (RFC 9110, 12.5.3). What it does not name it does not take, but for
/// the body as it is, which it likes least.
pub(super) fn liking(asked: &HeaderMap, coding: Coding) -> u16 {
    let name = coding.name().unwrap_or("identity");
    let mut others = None;
    for entry in entries(asked, header::ACCEPT_ENCODING) {
        let (named, weight) = entry.split_once(';').unwrap_or((entry, ""));
        let named = named.trim();
        if named.eq_ignore_ascii_case(name) {
            return thousandths(weight);
        }
        if named == "*" {
            others = Some(thousandths(weight));
        }
    }
    others.unwrap_or(u16::from(coding == Coding::Identity))
}

/// Whether the client has this very body (RFC 9110, 13.1.2). A proxy that encodes anew makes a strong tag a weak one.
pub(super) fn has_it(asked: &HeaderMap, etag: &HeaderValue) -> bool {
    entries(asked, header::IF_NONE_MATCH)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == etag.as_bytes())
}

fn entries(asked: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    asked
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
}

/// `q=0.5` as 500; what cannot be read counts as full liking.
fn thousandths(weight: &str) -> u16 {
    let number = weight.trim().strip_prefix("q=").or_else(|| weight.trim().strip_prefix("Q="));
    let share = number.and_then(|number| number.trim().parse::<f32>().ok()).unwrap_or(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
    let thousandths = (share.clamp(0.0, 1.0) * 1000.0).round() as u16;
    thousandths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut asked = HeaderMap::new();
        for value in values {
            asked.append(name.clone(), value.parse().unwrap());
        }
        asked
    }

    fn likings(values: &[&str]) -> [u16; 3] {
        let asked = asked(header::ACCEPT_ENCODING, values);
        [Coding::Identity, Coding::Gzip, Coding::Brotli].map(|coding| liking(&asked, coding))
    }

    #[test]
    fn what_is_named_is_taken_and_the_rest_is_not() {
        assert_eq!(likings(&[]), [1, 0, 0]);
        assert_eq!(likings(&["gzip, deflate, br, zstd"]), [1, 1000, 1000]);
        assert_eq!(likings(&["gzip", "br;q=0.5"]), [1, 1000, 500]);
        assert_eq!(likings(&["GZIP ; Q=0.25"]), [1, 250, 0]);
        assert_eq!(likings(&["gzip;q=0, *"]), [1000, 0, 1000]);
        assert_eq!(likings(&["identity, gzip;q=0.9"]), [1000, 900, 0]);
        assert_eq!(likings(&["identity;q=0, *;q=0"]), [0, 0, 0]);
        assert_eq!(likings(&["gzip;q=nonsense, br;q=7"]), [1, 1000, 1000]);
    }

    #[test]
    fn a_copy_is_known_by_its_tag_strong_or_weak_alone_or_among_others() {
        let etag = HeaderValue::from_static("\"one\"");
        for known in ["\"one\"", "W/\"one\"", "*", "\"two\", \"one\"", "\"two\",W/\"one\""] {
            assert!(has_it(&asked(header::IF_NONE_MATCH, &[known]), &etag), "{known}");
        }
        for unknown in ["", "one", "\"two\"", "\"one-gzip\"", "w/\"one\""] {
            assert!(!has_it(&asked(header::IF_NONE_MATCH, &[unknown]), &etag), "{unknown}");
        }
    }
}
