//! The bodies of the control API, read field by field.

use serde_json::{Map, Value};

use super::refused::{Refused, bad_request};

/// A JSON object whose fields are read one by one, so that an error names its field. A field that is `null` is missing.
pub(super) struct Body(Map<String, Value>);

impl Body {
    /// No body at all is an empty object; the content type does not matter.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refused> {
        let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
        let object = serde_json::from_slice(body);
        object.map(Self).map_err(|error| bad_request(format!("the body is not a JSON object: {error}")))
    }

    /// A field that is not `null`.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Refused> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(bad_request(format!("{name} is not a string"))),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Refused> {
        let wrong = || bad_request(format!("{name} is not a list of strings"));
        let Some(value) = self.get(name) else { return Ok(None) };
        let texts = value.as_array().ok_or_else(wrong)?.iter();
        texts
            .map(|text| text.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    pub(super) fn number<T: TryFrom<u64>>(&self, name: &str) -> Result<Option<T>, Refused> {
        let wrong = || bad_request(format!("{name} is not a number in its range"));
        match self.get(name) {
            None => Ok(None),
            Some(value) => {
                let number = value.as_u64().ok_or_else(wrong)?;
                T::try_from(number).map(Some).map_err(|_| wrong())
            }
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refused> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(bad_request(format!("{name} is neither true nor false"))),
        }
    }

    pub(super) fn jid(&self) -> Result<String, Refused> {
        required(self.text("jid")?, "jid")
    }
}

pub(super) fn required<T>(field: Option<T>, name: &str) -> Result<T, Refused> {
    field.ok_or_else(|| bad_request(format!("{name} is missing")))
}
