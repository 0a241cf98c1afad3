//! Signs webhooks as [Standard Webhooks](https://www.standardwebhooks.com) says: HMAC-SHA256 over id, time and body.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What a secret begins with as text.
const PREFIX: &str = "whsec_";

/// Said before the name of a key, so that nothing else that the server's secret signs is ever the same.
const LABEL: &str = "qrcast webhook v1:";

/// A secret that signs webhooks.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Reads `whsec_<base64>`, of the 24 to 64 bytes that the standard asks for.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        (24..=64).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The secret of an API key, which nobody can find who does not know the deployment's own.
    pub(crate) fn of_key(secret: &str, name: &str) -> Self {
        Self(mac(secret.as_bytes(), &[LABEL.as_bytes(), name.as_bytes()]))
    }

    /// As receivers are told it.
    pub(crate) fn to_text(&self) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(&self.0))
    }

    /// One word of the header `webhook-signature`.
    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let signed =
            mac(&self.0, &[id.as_bytes(), b".", timestamp.to_string().as_bytes(), b".", body.as_bytes()]);
        format!("v1,{}", BASE64_STANDARD.encode(signed))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .unwrap_or_else(|error| unreachable!("HMAC takes a key of any length: {error}"));
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the standard's own libraries.
    #[test]
    fn it_signs_as_the_standards_libraries_do() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(key.to_text(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }

    #[test]
    fn each_key_has_a_secret_of_its_own() {
        let of = |secret, name| SigningKey::of_key(secret, name).to_text();
        assert_eq!(of("s", "web"), of("s", "web"));
        assert!(of("s", "web") != of("s", "shop") && of("s", "web") != of("t", "web"));
        assert!(SigningKey::parse(&of("s", "web")).is_some());
        for wrong in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%%"] {
            assert!(SigningKey::parse(wrong).is_none(), "{wrong}");
        }
    }
}
