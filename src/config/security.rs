//! Who may do what: keys, tokens, origins, proxies. Secrets are kept hashed, or masked.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use super::Secret;
use super::origin::Origins;
use super::reader::Reader;

/// The settings that decide who may use this server.
#[derive(Clone, Debug)]
pub struct Security {
    /// The API keys; without any, the server is open. `API_KEYS`
    pub keys: Vec<Arc<ApiKey>>,
    /// Whether an open server serves other machines than this one. `ALLOW_ANONYMOUS`
    pub anonymous: bool,
    /// The secret that signs stream tokens; if `None`, the deployment makes one. `TOKEN_SECRET`
    pub token_secret: Option<Secret>,
    /// How long a token is valid, in seconds. `TOKEN_TTL_SECONDS`
    pub token_ttl: Duration,
    /// How long after the first token its renewals are valid, in seconds. `TOKEN_MAX_AGE_SECONDS`
    pub token_max_age: Duration,
    /// The origins of the pages that may use this server. `ALLOWED_ORIGINS`
    pub origins: Origins,
    /// The proxies that are believed about a client's address. `TRUSTED_PROXIES`
    pub proxies: TrustedProxies,
}

/// One of `API_KEYS`.
#[derive(Clone)]
pub struct ApiKey {
    /// The key's name, for log lines and limits.
    pub name: String,
    /// The SHA-256 of the secret; the secret itself is not kept.
    pub hash: [u8; 32],
    /// The user-id prefix that this key is restricted to; `None` if it may use all sessions.
    pub prefix: Option<String>,
    /// The length of its secret, in characters.
    pub length: usize,
}

/// The proxies that are believed about a client's address.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    /// Their address ranges, each with the header in which its proxies name the client alone; without one, it is
    /// `X-Forwarded-For`.
    pub ranges: Vec<(IpNet, Option<&'static str>)>,
}

/// A secret shorter than this can be guessed. Also the size of the hash that signs, see RFC 7518, section 3.2.
pub const LEAST_TOKEN_SECRET: usize = 32;

/// An API key with a shorter secret can be guessed if the guesses are not limited. It is accepted with a warning,
/// because it may have been handed out long ago.
const LEAST_API_KEY: usize = 16;

/// Fly's proxy connects from the machine's own IPv4 net (not documented; seen by several projects) and names the client
/// in a header that it overwrites: <https://fly.io/docs/networking/request-headers/>. `X-Forwarded-For` ends with the
/// app's own address there. The organization's private network (`fdaa::/16`) reaches a machine without the proxy.
const FLY: (&str, &str) = ("172.16.0.0/12", "fly-client-ip");

/// Railway's proxy connects from the shared address space (not documented; seen by several projects) and names the
/// client in `X-Real-IP`: <https://docs.railway.com/networking/public-networking/specs-and-limits>.
const RAILWAY: (&str, &str) = ("100.64.0.0/10", "x-real-ip");

/// Whether this secret is long enough to sign tokens, whether it comes from the environment or the store.
pub fn is_token_secret(text: &str) -> bool {
    text.len() >= LEAST_TOKEN_SECRET
}

impl Security {
    /// Warnings for an operator about settings that are accepted and unwise.
    pub fn unwise(&self) -> Vec<String> {
        let short = self.keys.iter().filter(|key| key.length < LEAST_API_KEY);
        let said = |key: &Arc<ApiKey>| {
            let (name, length) = (&key.name, key.length);
            format!(
                "API_KEYS: the secret of {name} has {length} characters; fewer than {LEAST_API_KEY} can be guessed"
            )
        };
        short.map(said).collect()
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let keys = reader.secret(
            "API_KEYS",
            "a comma list of name:secret or name:secret:userIdPrefix, each name and each secret once",
            api_keys,
        );
        let keys = keys.unwrap_or_default();
        let has_keys = reader.text("API_KEYS").is_some();
        let origins = reader.parsed(
            "ALLOWED_ORIGINS",
            Origins::default(),
            "a comma list of origins, for example https://app.example.com or https://*.example.com; * only with API_KEYS",
            |text| Origins::parse(text).filter(|origins| !origins.any || has_keys),
        );
        Self {
            keys,
            anonymous: reader.flag("ALLOW_ANONYMOUS"),
            token_secret: reader.secret("TOKEN_SECRET", "at least 32 bytes", |text| {
                is_token_secret(text).then(|| Secret(text.to_owned()))
            }),
            token_ttl: Duration::from_secs(reader.number("TOKEN_TTL_SECONDS", 600, 1..=86_400)),
            token_max_age: Duration::from_secs(reader.number(
                "TOKEN_MAX_AGE_SECONDS",
                86_400,
                1..=31_536_000,
            )),
            origins,
            proxies: reader.parsed(
                "TRUSTED_PROXIES",
                TrustedProxies::default(),
                "a comma list of CIDR ranges, for example 10.0.0.0/8, or the words fly, railway",
                proxies,
            ),
        }
    }

    /// Whether requests need no key.
    pub fn is_open(&self) -> bool {
        self.keys.is_empty()
    }
}

impl ApiKey {
    /// The hash by which secrets are compared.
    pub fn hash(secret: &str) -> [u8; 32] {
        Sha256::digest(secret).into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("name", &self.name)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl TrustedProxies {
    /// Whether the proxy at this address is believed.
    pub fn trust(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|(range, _)| range.contains(&address))
    }

    /// The header in which the proxy at this address names the client alone, if it has one.
    pub fn header_of(&self, proxy: IpAddr) -> Option<&'static str> {
        self.ranges.iter().filter(|(range, _)| range.contains(&proxy)).find_map(|(_, header)| *header)
    }
}

/// Whether this can be a name or a secret in a list of API keys.
pub(super) fn is_of_a_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b',' && b != b':')
}

/// The secret of the first of these API keys.
pub(super) fn first_secret(keys: &str) -> Option<&str> {
    entries(keys).next()?.split(':').nth(1).filter(|secret| is_of_a_key(secret))
}

fn entries(keys: &str) -> impl Iterator<Item = &str> {
    keys.split(',').map(str::trim)
}

fn api_keys(text: &str) -> Option<Vec<Arc<ApiKey>>> {
    let keys = entries(text).map(|entry| api_key(entry).map(Arc::new)).collect::<Option<Vec<_>>>()?;
    // If two keys had the same secret, nobody could say which one a request used.
    let differs = |one: &ApiKey, other: &ApiKey| one.name != other.name && one.hash != other.hash;
    let unique = keys.iter().enumerate().all(|(at, key)| keys[..at].iter().all(|other| differs(key, other)));
    unique.then_some(keys)
}

fn api_key(entry: &str) -> Option<ApiKey> {
    let mut parts = entry.split(':');
    let (name, secret, prefix) = (parts.next()?, parts.next()?, parts.next());
    let words = is_of_a_key(name) && is_of_a_key(secret);
    let whole = parts.next().is_none() && words && prefix.is_none_or(is_of_a_user_id);
    whole.then(|| ApiKey {
        name: name.to_owned(),
        hash: ApiKey::hash(secret),
        prefix: prefix.map(str::to_owned),
        length: secret.len(),
    })
}

fn is_of_a_user_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b))
}

fn proxies(text: &str) -> Option<TrustedProxies> {
    let mut proxies = TrustedProxies::default();
    for entry in text.split(',').map(str::trim) {
        let (range, header) = match entry {
            "fly" => (FLY.0, Some(FLY.1)),
            "railway" => (RAILWAY.0, Some(RAILWAY.1)),
            range => (range, None),
        };
        // A single address is a range of one.
        let range = range.parse().or_else(|_| range.parse::<IpAddr>().map(IpNet::from));
        proxies.ranges.push((range.ok()?, header));
    }
    Some(proxies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_hashed_and_named_once() {
        let keys = api_keys("web:s3cret, shop:0ther:shop-").unwrap();
        assert_eq!((keys[0].name.as_str(), keys[0].prefix.as_deref()), ("web", None));
        assert_eq!((keys[1].name.as_str(), keys[1].prefix.as_deref()), ("shop", Some("shop-")));
        assert_eq!(keys[0].hash, ApiKey::hash("s3cret"));
        assert!(!format!("{keys:?}").contains("s3cret"));
        for wrong in [
            "",
            "web",
            "web:",
            ":secret",
            "web:a:b:c",
            "web:a:",
            "web:a:b b",
            "web:a,web:b",
            "web:a,shop:a:s",
            "web:a,",
        ] {
            assert!(api_keys(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn proxies_are_ranges_addresses_or_words() {
        let trusted = proxies("10.0.0.0/8, 192.0.2.7, fly").unwrap();
        for good in ["10.1.2.3", "192.0.2.7", "172.19.0.1"] {
            assert!(trusted.trust(good.parse().unwrap()), "{good}");
        }
        assert_eq!(trusted.header_of("172.19.0.1".parse().unwrap()), Some("fly-client-ip"));
        assert_eq!(trusted.header_of("10.1.2.3".parse().unwrap()), None);
        assert!(!trusted.trust("192.0.2.8".parse().unwrap()));
        for wrong in ["everyone", "10.0.0.0/33", "10.0.0.0/8,"] {
            assert!(proxies(wrong).is_none(), "{wrong:?}");
        }
    }
}
