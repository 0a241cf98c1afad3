//! What a client is told beside an answer or a refusal: something of its request had no effect.

use schemars::JsonSchema;
use serde::Serialize;

/// What an answer says of fields that the call does not know. It is left out where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(in crate::http) struct Warnings(Vec<String>);

/// Fields that are named; of more only that there are.
const MOST_WARNINGS: usize = 20;

/// Longest name in a warning, in characters.
const LONGEST_NAME: usize = 64;

impl Warnings {
    pub(in crate::http) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These fields of a body are not known to the call.
    pub(in crate::http) fn unknown_fields(unknown: &[String]) -> Self {
        let name = |name: &String| -> String { name.chars().take(LONGEST_NAME).collect() };
        let named = unknown.iter().take(MOST_WARNINGS);
        let named =
            named.map(|field| format!("{}: this call has no such field, it was ignored", name(field)));
        let more = unknown.len().saturating_sub(MOST_WARNINGS);
        Self(named.chain((more > 0).then(|| format!("{more} more fields were ignored"))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_and_long_names_make_a_short_answer() {
        let unknown: Vec<_> = (0..1_000).map(|n| format!("{n:05}{}", "é".repeat(100))).collect();
        let Warnings(said) = Warnings::unknown_fields(&unknown);
        assert_eq!(said.len(), MOST_WARNINGS + 1);
        assert!(said.iter().all(|warning| warning.chars().count() < 2 * LONGEST_NAME), "{said:?}");
        assert_eq!(said.last().unwrap(), "980 more fields were ignored");
        assert!(Warnings::unknown_fields(&[]).is_empty());
    }
}
