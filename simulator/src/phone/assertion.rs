//! A passkey's assertion as the account checks it: exactly WhatsApp's fields, this challenge, WhatsApp's page, a verified
//! person, and the signature where the account knows the passkey.
//!
//! Source: Web Authentication Level 3, section 7.2.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::authenticator::{ORIGIN, has_signed, is_verified};
use super::error::PasskeyError;

/// The account's challenge, and its passkey if one is registered.
pub(super) struct Expected<'a> {
    /// The challenge, in base64url.
    pub(super) challenge: String,
    /// The passkey that is registered; `None`: any is taken.
    pub(super) public_key: Option<&'a [u8]>,
}

/// Checks an assertion that came with this credential id.
pub(super) fn check(
    assertion: &[u8],
    credential_id: &[u8],
    expected: &Expected<'_>,
) -> Result<(), PasskeyError> {
    let assertion: Map<String, Value> =
        serde_json::from_slice(assertion).map_err(|_| PasskeyError::Malformed("webauthn_assertion"))?;
    let nothing = Map::new();
    let response = assertion.get("response").and_then(Value::as_object).unwrap_or(&nothing);
    has_exactly(&assertion, &["id", "rawId", "type", "response"])?;
    has_exactly(response, &["clientDataJSON", "authenticatorData", "signature", "userHandle"])?;
    let raw_id = bytes(&assertion, "rawId")?;
    if raw_id.is_empty() || raw_id != credential_id || assertion.get("id") != assertion.get("rawId") {
        return Err(PasskeyError::Malformed("credential_id"));
    }
    if assertion.get("type").and_then(Value::as_str) != Some("public-key") {
        return Err(PasskeyError::Malformed("type"));
    }
    if !response.get("userHandle").is_some_and(|handle| handle.is_null() || handle.is_string()) {
        return Err(PasskeyError::Malformed("userHandle"));
    }
    let client_data = bytes(response, "clientDataJSON")?;
    check_client_data(&client_data, expected)?;
    let data = bytes(response, "authenticatorData")?;
    if !is_verified(&data) {
        return Err(PasskeyError::Unverified);
    }
    let signature = bytes(response, "signature")?;
    match expected.public_key {
        Some(key) if !has_signed(key, &data, &client_data, &signature) => Err(PasskeyError::Signature),
        _ => Ok(()),
    }
}

fn check_client_data(client_data: &[u8], expected: &Expected<'_>) -> Result<(), PasskeyError> {
    let client_data: Value =
        serde_json::from_slice(client_data).map_err(|_| PasskeyError::Malformed("clientDataJSON"))?;
    if client_data["type"] != "webauthn.get" {
        return Err(PasskeyError::Malformed("clientDataJSON.type"));
    }
    if client_data["challenge"] != expected.challenge.as_str() {
        return Err(PasskeyError::Challenge);
    }
    if client_data["origin"] != ORIGIN {
        return Err(PasskeyError::Origin(client_data["origin"].as_str().unwrap_or_default().to_owned()));
    }
    Ok(())
}

fn has_exactly(object: &Map<String, Value>, fields: &[&'static str]) -> Result<(), PasskeyError> {
    if let Some(missing) = fields.iter().find(|field| !object.contains_key(**field)) {
        return Err(PasskeyError::Malformed(missing));
    }
    match object.keys().find(|field| !fields.contains(&field.as_str())) {
        Some(extra) => Err(PasskeyError::Extra(extra.clone())),
        None => Ok(()),
    }
}

fn bytes(object: &Map<String, Value>, field: &'static str) -> Result<Vec<u8>, PasskeyError> {
    let text = object.get(field).and_then(Value::as_str).ok_or(PasskeyError::Malformed(field))?;
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| PasskeyError::Malformed(field))
}

#[cfg(test)]
mod tests {
    use super::{Expected, check};
    use crate::phone::authenticator::{Authenticator, read_public_key};
    use crate::phone::error::PasskeyError;
    use serde_json::{Value, json};

    const OPTIONS: &str = r#"{"challenge":"AQID"}"#;

    /// Checks the result for a valid assertion that was changed in one place.
    fn changed(change: impl FnOnce(&mut Value)) -> Result<(), PasskeyError> {
        let authenticator = Authenticator::new().unwrap();
        let mut assertion = authenticator.assertion(OPTIONS).unwrap();
        change(&mut assertion);
        let key = read_public_key(&authenticator.public_key()).unwrap();
        let expected = Expected { challenge: "AQID".to_owned(), public_key: Some(&key) };
        check(assertion.to_string().as_bytes(), authenticator.credential_id(), &expected)
    }

    #[test]
    fn a_good_assertion_is_taken_and_a_changed_one_is_not() {
        assert_eq!(changed(|_| ()), Ok(()));
        let extra = changed(|assertion| assertion["authenticatorAttachment"] = json!("platform"));
        assert_eq!(extra, Err(PasskeyError::Extra("authenticatorAttachment".into())));
        assert_eq!(
            changed(|assertion| assertion["response"]["userHandle"] = json!(5)),
            Err(PasskeyError::Malformed("userHandle"))
        );
        assert_eq!(
            changed(|assertion| assertion["id"] = json!("AA")),
            Err(PasskeyError::Malformed("credential_id"))
        );
        assert_eq!(
            changed(|assertion| assertion["response"]["signature"] = json!("AAAA")),
            Err(PasskeyError::Signature)
        );
        assert_eq!(
            changed(|assertion| assertion["response"]["authenticatorData"] = json!("AAAA")),
            Err(PasskeyError::Unverified)
        );
        let other = Authenticator::new().unwrap().assertion(r#"{"challenge":"AAAA"}"#).unwrap();
        let client_data = other["response"]["clientDataJSON"].clone();
        assert_eq!(
            changed(|assertion| assertion["response"]["clientDataJSON"] = client_data),
            Err(PasskeyError::Challenge)
        );
    }
}
