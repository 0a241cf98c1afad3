//! A receiver of webhooks as settings and requests name it: its URL, the addresses it may be at, the key that signs for it.
//!
//! Nothing is opened here: `webhooks` does that. The path and the query of a URL may hold a secret, so `Debug` and log
//! lines show its origin alone.

pub(crate) mod address;
mod signature;

use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

pub use self::signature::SigningKey;

/// What a receiver's URL may be, for error messages.
pub(crate) const ALLOWED: &str = "an https:// URL of at most 2048 characters, without user name, password and fragment, \
    not of a private address (these and http:// only with WEBHOOK_ALLOW_PRIVATE)";

/// Longest URL, in characters.
const LONGEST: usize = 2048;

/// Where webhooks are sent.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ReceiverUrl(String);

/// The text is not the URL of a receiver. The error does not repeat it, because a secret may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("allowed is {ALLOWED}")]
pub struct BadReceiver;

impl ReceiverUrl {
    /// Reads a URL. A name may lead to a private address all the same, so that is checked again at every connection.
    ///
    /// # Errors
    /// See [`ALLOWED`].
    pub fn parse(text: &str, allow_private: bool) -> Result<Self, BadReceiver> {
        let url = Url::parse(text).ok().filter(|_| text.len() <= LONGEST).ok_or(BadReceiver)?;
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let scheme = url.scheme() == "https" || (url.scheme() == "http" && allow_private);
        let public = match url.host() {
            Some(Host::Ipv4(address)) => address::is_public(address.into()),
            Some(Host::Ipv6(address)) => address::is_public(address.into()),
            Some(Host::Domain(_)) => true,
            None => false,
        };
        if plain && scheme && (public || allow_private) && url.port() != Some(0) {
            Ok(Self(url.into()))
        } else {
            Err(BadReceiver)
        }
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Scheme, host and port: what strangers and log lines may see.
    pub fn origin(&self) -> String {
        Url::parse(&self.0).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
    }
}

impl fmt::Debug for ReceiverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

/// The receiver that a session has of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnReceiver {
    #[serde(deserialize_with = "stored")]
    pub url: ReceiverUrl,
    /// The name of the API key that created the session, whose secret signs; empty on a server without keys.
    pub key: String,
}

/// One that was taken once is not judged again by settings that may have changed: the connection is.
fn stored<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ReceiverUrl, D::Error> {
    let text = String::deserialize(deserializer)?;
    ReceiverUrl::parse(&text, true).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_no_private_address_unless_allowed() {
        for good in ["https://example.com/hook?token=x", "https://example.com:8443", "https://8.8.8.8/"] {
            assert!(ReceiverUrl::parse(good, false).is_ok(), "{good}");
        }
        for private in [
            "http://example.com/",
            "https://127.0.0.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest",
        ] {
            assert_eq!(ReceiverUrl::parse(private, false), Err(BadReceiver), "{private}");
            assert!(ReceiverUrl::parse(private, true).is_ok(), "{private}");
        }
        let long = format!("https://example.com/{}", "a".repeat(2048));
        for wrong in [
            "",
            "example.com",
            "ftp://a/",
            "https://u:p@a.com/",
            "https://a.com/#x",
            "https://a.com:0/",
            &long,
        ] {
            assert_eq!(ReceiverUrl::parse(wrong, true), Err(BadReceiver), "{wrong}");
        }
    }

    #[test]
    fn only_its_origin_is_for_everyone() {
        let url = ReceiverUrl::parse("https://Example.com:8443/secret?token=secret", false).unwrap();
        assert_eq!(format!("{url:?}"), "https://example.com:8443");
        let own = OwnReceiver { url, key: "web".into() };
        let text = serde_json::to_string(&own).unwrap();
        assert_eq!(serde_json::from_str::<OwnReceiver>(&text).unwrap(), own);
    }
}
