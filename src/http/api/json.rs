//! Which JSON a client may send: only what every reader reads alike, now and when it comes out of the store.
//!
//! serde_json alone takes more. A number becomes the nearest that fits, of two equal names the last one counts, and a key
//! of its own (`$serde_json::private::RawValue`) makes it read a string as JSON, past its limit on depth. So `body.rs`
//! has each body looked at here before anything is made of it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// How deep the value of a field may nest.
const DEEPEST: usize = 16;

/// What keys begin with that mean something to serde_json itself.
const RESERVED: &str = "$serde_json::private::";

/// What is wrong, and in which field; the body as a whole has no name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(in crate::http) field: String,
    pub(in crate::http) allowed: String,
}

/// Looks at a whole body.
pub(in crate::http) fn check(body: &[u8]) -> Result<(), Unfit> {
    let unfit = |allowed: String| Unfit { field: String::new(), allowed };
    if let Some(encoding) = foreign_encoding(body) {
        return Err(unfit(format!(
            "JSON in UTF-8 without a byte order mark; this begins with that of {encoding}"
        )));
    }
    let whole: &RawValue = serde_json::from_slice(body).map_err(|error| unfit(error.to_string()))?;
    // The body's own braces are around its fields, not part of them.
    look(whole, DEEPEST + 1, &mut String::new())
}

/// What the first bytes say, where they say it.
fn foreign_encoding(body: &[u8]) -> Option<&'static str> {
    match body {
        [0xef, 0xbb, 0xbf, ..] => Some("UTF-8"),
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        _ => None,
    }
}

/// Looks at a value that may nest so deep, in the field `path`.
fn look(value: &RawValue, deep: usize, path: &mut String) -> Result<(), Unfit> {
    let text = value.get();
    let unfit = |path: &str, allowed: String| Unfit { field: path.to_owned(), allowed };
    let parts: Vec<(Option<Cow<'_, str>>, &RawValue)> = match text.as_bytes().first() {
        Some(b'{') => {
            let members = serde_json::from_str::<Members<'_>>(text);
            let members = members.map_err(|error| unfit(path, said(&error)))?;
            members.0.into_iter().map(|(key, value)| (Some(key), value)).collect()
        }
        Some(b'[') => {
            let items = serde_json::from_str::<Vec<&RawValue>>(text);
            let items = items.map_err(|error| unfit(path, said(&error)))?;
            items.into_iter().map(|value| (None, value)).collect()
        }
        Some(b'"') => {
            // Half of a surrogate pair is found here.
            serde_json::from_str::<Cow<'_, str>>(text).map_err(|error| unfit(path, said(&error)))?;
            return Ok(());
        }
        Some(b'-' | b'0'..=b'9') => {
            let allowed = "a number that JSON readers keep as it is: write a longer one as a string";
            return if is_kept(text) { Ok(()) } else { Err(unfit(path, allowed.to_owned())) };
        }
        _ => return Ok(()),
    };
    let Some(deep) = deep.checked_sub(1) else {
        return Err(unfit(path, format!("at most {DEEPEST} levels of objects and lists")));
    };
    for (at, (key, value)) in parts.into_iter().enumerate() {
        let outer = path.len();
        match key {
            Some(key) => {
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(&key);
            }
            None => {
                let _ = write!(path, "[{at}]");
            }
        }
        look(value, deep, path)?;
        path.truncate(outer);
    }
    Ok(())
}

/// An error's words without its place, which is one within a part.
fn said(error: &serde_json::Error) -> String {
    let words = error.to_string();
    words.split(" at line ").next().unwrap_or_default().to_owned()
}

/// The members of an object, each name once and none of serde_json's own.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut members, mut names) = (Vec::new(), HashSet::new());
        while let Some(name) = map.next_key::<String>()? {
            if name.starts_with(RESERVED) {
                return Err(A::Error::custom(format_args!("no key that begins with {RESERVED}")));
            }
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("each key once"));
            }
            members.push((Cow::Owned(name), map.next_value()?));
        }
        Ok(Members(members))
    }
}

/// Whether a number, once read and written again, still is the same number.
fn is_kept(text: &str) -> bool {
    match serde_json::from_str::<Value>(text) {
        Ok(read) => decimal(&read.to_string()) == decimal(text),
        Err(_) => false,
    }
}

/// A number as its sign, its digits without zeros at either end, and the power of ten of the last one. `None`: of no
/// number that this server could keep.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let shortened = digits.trim_end_matches('0');
    let dropped = i64::try_from(digits.len() - shortened.len()).ok()?;
    let power = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(dropped)?;
    let significant = shortened.trim_start_matches('0');
    let power = if significant.is_empty() { 0 } else { power };
    Some((sign, significant.to_owned(), power))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_of(body: &str) -> Option<String> {
        check(body.as_bytes()).err().map(|unfit| unfit.field)
    }

    /// `{"metadata":{"a":{"a":…1…}}}`, so that the metadata has this many levels.
    fn nested(levels: usize) -> String {
        format!(r#"{{"metadata":{}1{}}}"#, r#"{"a":"#.repeat(levels), "}".repeat(levels))
    }

    #[test]
    fn what_everybody_reads_alike_is_taken() {
        for body in [
            r#"{}"#,
            r#" {"a":[1,-2,3.5,1e3,0.1,1.50,-0.0,null,true,"\ud83d\ude00 \u0000"]} "#,
            r#"{"a":18446744073709551615,"b":-9223372036854775808,"c":0.30000000000000004,"d":5e-324}"#,
            r#"{"a":1.7976931348623157E+308,"b":100000000000000000000,"c":123456789012345.67,"$serde":1}"#,
            r#"null"#,
            r#"[]"#,
        ] {
            assert_eq!(check(body.as_bytes()), Ok(()), "{body}");
        }
    }

    #[test]
    fn depth_has_an_end() {
        assert_eq!(field_of(&nested(16)), None);
        assert!(field_of(&nested(17)).unwrap().starts_with("metadata.a.a"));
        assert!(field_of(&nested(2_000)).is_some());
        let lists = |levels: usize| format!(r#"{{"metadata":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert_eq!((field_of(&lists(16)), field_of(&lists(17)).is_some()), (None, true));
    }

    #[test]
    fn the_readers_own_keys_are_refused_wherever_they_stand() {
        for body in [
            r#"{"metadata":{"$serde_json::private::RawValue":"[[[]]]"}}"#,
            r#"{"metadata":{"a":[{"b":{"$serde_json::private::Number":"1"}}]}}"#,
            r#"{"metadata":{"\u0024serde_json::private\u003a:RawValue":"1"}}"#,
            r#"{"metadata":{"x":1,"$serde_json::private::Later":null}}"#,
            r#"{"credential":{"$serde_json::private::RawValue":"{}"}}"#,
            r#"{"$serde_json::private::RawValue":"{}"}"#,
        ] {
            assert!(field_of(body).is_some(), "{body}");
        }
        assert_eq!(field_of(r#"{"metadata":{"note":"$serde_json::private::RawValue"}}"#), None);
    }

    #[test]
    fn a_number_is_kept_or_refused() {
        for number in [
            "12345678901234567890123",
            "-12345678901234567890123",
            "18446744073709551617",
            "0.1234567890123456789",
            "3.14159265358979323846",
            "1e-400",
            "1e400",
            "1e99999999999999999999",
        ] {
            let body = format!(r#"{{"metadata":{{"a":[0,{number}]}}}}"#);
            let field = field_of(&body).unwrap_or_else(|| panic!("{number} was taken"));
            assert!(field == "metadata.a[1]" || field.is_empty(), "{number}: {field}");
        }
    }

    #[test]
    fn what_two_readers_may_read_differently_is_refused() {
        for body in [
            r#"{"a":1,"a":2}"#,
            r#"{"metadata":{"a":1,"\u0061":2}}"#,
            r#"{"metadata":{"a":"\ud800"}}"#,
            r#"{"metadata":{"\ud800":1}}"#,
            "\u{feff}{}",
        ] {
            assert!(field_of(body).is_some(), "{body}");
        }
        assert!(check(b"\xff\xfe{\0}\0").unwrap_err().allowed.contains("UTF-16"));
        assert!(check(b"\xef\xbb\xbf{}").unwrap_err().allowed.contains("byte order mark"));
    }
}
