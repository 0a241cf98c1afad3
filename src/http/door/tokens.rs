//! Stream tokens: JSON Web Tokens (RFC 7519), signed with HS256, good for one session until they expire.
//!
//! Every replica has the same secret, so every replica reads what another has signed.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::Time;
use crate::http::error::{ApiError, ErrorCode};
use crate::id::SessionId;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum Scope {
    /// Following the session.
    Read,
    /// Also what a page needs to get a person through.
    Link,
}

/// What a token says. The names are those of the registry of claims; times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::http) struct Claims {
    #[serde(rename = "sub", with = "as_text")]
    pub(in crate::http) session: SessionId,
    pub(in crate::http) scope: Scope,
    /// When the first token was given of which this one is a renewal.
    auth_time: u64,
    exp: u64,
    /// Before this it is not good. None of ours has it; the secret may have other users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<f64>,
}

/// A token, and until when it is good.
pub(in crate::http) struct Issued {
    pub(in crate::http) token: String,
    pub(in crate::http) expires: Time,
    pub(in crate::http) scope: Scope,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum TokenError {
    /// It was one.
    Expired,
    /// It never was one of ours.
    Invalid,
}

/// Signs tokens and reads them.
pub(in crate::http) struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
    max_age: Duration,
}

impl Claims {
    /// When the token expires.
    pub(in crate::http) fn expires(&self) -> Time {
        time(self.exp)
    }

    /// RFC 7519: not good on or after `exp` (4.1.4), nor before `nbf` (4.1.5).
    fn are_good_at(self, now: Time) -> Result<Self, TokenError> {
        if now >= self.expires() {
            return Err(TokenError::Expired);
        }
        let now = now.as_millis() as f64 / 1000.0;
        if self.nbf.is_some_and(|begin| now < begin) { Err(TokenError::Invalid) } else { Ok(self) }
    }
}

impl Signer {
    /// With the deployment's secret.
    pub(in crate::http) fn new(secret: &str, max_age: Duration) -> Self {
        let secret = secret.as_bytes();
        let (encoding, decoding) = (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
        Self { encoding, decoding, max_age }
    }

    /// A token for a session, or a renewal of one, which ends at most `max_age` after the first.
    pub(in crate::http) fn issue(
        &self,
        session: &SessionId,
        scope: Scope,
        ttl: Duration,
        renews: Option<&Claims>,
    ) -> Result<Issued, ApiError> {
        let now = seconds_now();
        let auth_time = renews.map_or(now, |claims| claims.auth_time);
        let exp = now.saturating_add(ttl.as_secs()).min(auth_time.saturating_add(self.max_age.as_secs()));
        if exp <= now {
            // The first one is older than it may be by now.
            return Err(ErrorCode::TokenExpired.into());
        }
        let claims = Claims { session: session.clone(), scope, auth_time, exp, nbf: None };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding);
        let token = token.map_err(|error| {
            tracing::error!(%error, "a stream token cannot be signed");
            ApiError::from(ErrorCode::Internal)
        })?;
        Ok(Issued { token, expires: claims.expires(), scope })
    }

    /// What a token says, if it is good now.
    pub(in crate::http) fn read(&self, token: &str) -> Result<Claims, TokenError> {
        let mut validation = Validation::new(Algorithm::HS256);
        // Below, to the millisecond: the library compares whole seconds, and takes the last one.
        validation.validate_exp = false;
        validation.set_required_spec_claims(&["exp", "sub"]);
        match jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation) {
            Ok(read) => read.claims.are_good_at(Time::now()),
            Err(_) => Err(TokenError::Invalid),
        }
    }
}

fn seconds_now() -> u64 {
    u64::try_from(Time::now().as_millis() / 1000).unwrap_or_default()
}

fn time(seconds: u64) -> Time {
    Time::from_millis(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000))
}

/// A session's id as the text that it is.
mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::id::SessionId;

    pub(super) fn serialize<S: Serializer>(id: &SessionId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(id.as_str())
    }

    pub(in crate::http) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SessionId, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| de::Error::custom("no session id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const DAY: Duration = Duration::from_secs(86_400);

    fn session() -> SessionId {
        SessionId::new(&"ada".parse().unwrap())
    }

    #[test]
    fn a_token_says_what_was_signed() {
        let signer = Signer::new(SECRET, DAY);
        let id = session();
        let issued = signer.issue(&id, Scope::Link, Duration::from_secs(600), None).unwrap();
        let claims = signer.read(&issued.token).unwrap();
        assert_eq!((&claims.session, claims.scope, claims.expires()), (&id, Scope::Link, issued.expires));
        assert_eq!(Signer::new(&SECRET.replace('0', "x"), DAY).read(&issued.token), Err(TokenError::Invalid));
        let (head, tail) = issued.token.split_at(issued.token.len() - 3);
        assert_eq!(signer.read(&format!("{head}{}", tail.to_uppercase() + "x")), Err(TokenError::Invalid));
        assert_eq!(signer.read(""), Err(TokenError::Invalid));
    }

    #[test]
    fn no_other_algorithm_is_taken() {
        let signer = Signer::new(SECRET, DAY);
        let claims =
            Claims { session: session(), scope: Scope::Link, auth_time: 0, exp: u64::MAX / 2, nbf: None };
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let other = jsonwebtoken::encode(&Header::new(Algorithm::HS512), &claims, &key).unwrap();
        assert_eq!(signer.read(&other), Err(TokenError::Invalid));
        // `{"alg":"none"}`, and no signature.
        let payload = other.split('.').nth(1).unwrap();
        assert_eq!(signer.read(&format!("eyJhbGciOiJub25lIn0.{payload}.")), Err(TokenError::Invalid));
    }

    #[test]
    fn a_renewal_ends_with_the_age_of_the_first() {
        let signer = Signer::new(SECRET, DAY);
        let (id, now) = (session(), seconds_now());
        let old = Claims {
            session: id.clone(),
            scope: Scope::Link,
            auth_time: now - 86_300,
            exp: now + 10,
            nbf: None,
        };
        let issued = signer.issue(&id, Scope::Read, Duration::from_secs(600), Some(&old)).unwrap();
        assert_eq!(issued.expires, time(now - 86_300 + 86_400));
        let expired = Claims { auth_time: now - 90_000, ..old };
        assert!(signer.issue(&id, Scope::Read, Duration::from_secs(600), Some(&expired)).is_err());
    }

    #[test]
    fn a_token_is_good_before_its_end_and_not_before_its_beginning() {
        let claims = |exp, nbf| Claims { session: session(), scope: Scope::Read, auth_time: 0, exp, nbf };
        let at = Time::from_millis;
        for (now, exp, nbf, expected) in [
            (999_999, 1_000, None, None),
            (1_000_000, 1_000, None, Some(TokenError::Expired)),
            (1_000_990, 1_000, None, Some(TokenError::Expired)),
            (500_000, 1_000, Some(500.0), None),
            (499_999, 1_000, Some(500.0), Some(TokenError::Invalid)),
            (500_400, 1_000, Some(500.5), Some(TokenError::Invalid)),
            (500_500, 1_000, Some(500.5), None),
        ] {
            assert_eq!(claims(exp, nbf).are_good_at(at(now)).err(), expected, "{now} {exp} {nbf:?}");
        }
        let signer = Signer::new(SECRET, DAY);
        let read = |claims: &serde_json::Value| {
            let key = EncodingKey::from_secret(SECRET.as_bytes());
            signer
                .read(&jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap())
                .map(|_| ())
        };
        let now = seconds_now();
        let base = serde_json::json!({ "sub": session().as_str(), "scope": "read", "auth_time": now, "exp": now + 60 });
        let with = |name: &str, value: serde_json::Value| {
            let mut claims = base.clone();
            claims[name] = value;
            claims
        };
        assert_eq!(read(&base), Ok(()));
        assert_eq!(read(&with("nbf", (now - 1).into())), Ok(()));
        assert_eq!(read(&with("nbf", (now + 30).into())), Err(TokenError::Invalid));
        assert_eq!(read(&with("nbf", "soon".into())), Err(TokenError::Invalid));
        assert_eq!(read(&with("exp", now.into())), Err(TokenError::Expired));
        assert_eq!(read(&with("aud", "another service".into())), Err(TokenError::Invalid));
    }
}
