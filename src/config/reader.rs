//! Reads variables one by one and gathers what is wrong with them.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::{Mistake, Mistakes};

pub(super) struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { variable, mistakes: Vec::new() }
    }

    /// The text of a variable. An empty variable counts as unset.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        (self.variable)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Like `optional`, but never repeats the value in the error.
    pub(super) fn secret<T>(
        &mut self,
        name: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.checked(name, allowed, parse, |_| "***".into())
    }

    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.checked(name, allowed, parse, |found| found)
    }

    fn checked<T>(
        &mut self,
        name: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        show: impl FnOnce(String) -> String,
    ) -> Option<T> {
        let found = self.text(name)?;
        let value = parse(&found);
        if value.is_none() {
            self.mistakes.push(Mistake::Value { name, found: show(found), allowed: allowed.to_owned() });
        }
        value
    }

    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        default: T,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        self.optional(name, allowed, parse).unwrap_or(default)
    }

    pub(super) fn number<T>(&mut self, name: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        self.parsed(name, default, &allowed, |text| text.parse().ok().filter(|value| range.contains(value)))
    }

    /// `true` or `false`; `false` if it is unset.
    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        self.parsed(name, false, "true or false", |text| match text {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        })
    }

    /// See [`Mistake::Missing`].
    pub(super) fn missing(&mut self, name: &'static str, why: &'static str) {
        self.mistakes.push(Mistake::Missing { name, why });
    }

    /// See [`Mistake::Open`].
    pub(super) fn open_to_others(&mut self) {
        self.mistakes.push(Mistake::Open);
    }

    pub(super) fn finish<T>(self, value: T) -> Result<T, Mistakes> {
        if self.mistakes.is_empty() { Ok(value) } else { Err(Mistakes(self.mistakes)) }
    }
}
