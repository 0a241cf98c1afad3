//! `qrcast doctor`: whether this machine can do the job, line by line, with what to do.
//!
//! Not part of a running server; `main` calls it. It links nothing and changes nothing: no file or key is made, no lock
//! is
//! kept, and Redis is only asked to describe itself. The checks run side by side, each for at most [`LIMIT`], and are
//! always printed in the same order. Their texts contain no secret: variables appear by name, Redis and the proxy by
//! host and port.

mod clock;
mod environment;
mod machine;
mod network;
mod store;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures::join;
use serde::Serialize;

use self::network::Network;
use crate::config::Config;

/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The largest exit code that is a number of failures; shells use the codes above it for other things.
const MOST: u8 = 125;

/// The results of all checks.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    ok: bool,
    checks: Vec<Check>,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    name: &'static str,
    result: Finding,
    said: String,
    todo: Option<String>,
}

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// Nothing needs to be done.
    Ok,
    /// It works, but somebody should look at it.
    Warn,
    /// It does not work, and must be mended.
    Fail,
}

impl Report {
    fn new(checks: Vec<Check>) -> Self {
        Self { ok: checks.iter().all(|check| check.result != Finding::Fail), checks }
    }

    /// The number of failures, for the exit code.
    pub fn failures(&self) -> u8 {
        u8::try_from(self.count(Finding::Fail)).unwrap_or(MOST).min(MOST)
    }

    fn count(&self, finding: Finding) -> usize {
        self.checks.iter().filter(|check| check.result == finding).count()
    }
}

/// One line for each check, then a summary.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            writeln!(f, "{check}")?;
        }
        let counted = |finding, word| match self.count(finding) {
            1 => format!("1 {word}"),
            many => format!("{many} {word}s"),
        };
        write!(f, "{}, {}", counted(Finding::Fail, "failure"), counted(Finding::Warn, "warning"))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finding = match self.result {
            Finding::Ok => "ok",
            Finding::Warn => "warn",
            Finding::Fail => "fail",
        };
        write!(f, "{finding:<4}  {:<11}  {}", self.name, self.said)?;
        self.todo.iter().try_for_each(|todo| write!(f, "; {todo}"))
    }
}

impl Check {
    fn ok(name: &'static str, said: impl Into<String>) -> Self {
        Self { name, result: Finding::Ok, said: one_line(said.into()), todo: None }
    }

    fn warn(name: &'static str, said: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { result: Finding::Warn, todo: Some(todo.into()), ..Self::ok(name, said) }
    }

    fn fail(name: &'static str, said: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { result: Finding::Fail, todo: Some(todo.into()), ..Self::ok(name, said) }
    }
}

/// Puts a text on one line. Some texts come from other programs and may contain line breaks.
fn one_line(said: String) -> String {
    if said.contains(char::is_control) {
        said.split(char::is_control).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    } else {
        said
    }
}

/// Runs all checks. `variable` reads the environment, as for [`Config::read`]; `names` are the names of all variables
/// in it.
pub async fn run(variable: impl Fn(&str) -> Option<String>, names: &[String]) -> Report {
    let environment = environment::check(names);
    let config = match Config::read(variable) {
        Ok(config) => config,
        Err(mistakes) => {
            let todo = "correct it and run this again: nothing else was checked but names of variables";
            let config = mistakes.0.iter().map(|mistake| Check::fail("config", mistake.to_string(), todo));
            return Report::new(config.chain(environment).collect());
        }
    };
    let mut checks = vec![Check::ok("config", "every variable is right")];
    checks.extend(environment);
    checks.extend(of_config(&config, environment::other_proxy(names)).await);
    Report::new(checks)
}

async fn of_config(config: &Config, other_proxy: Option<&str>) -> Vec<Check> {
    let network = Network::new(config, other_proxy);
    let (name, (proxy, whatsapp), version, (media, date), (redis, time), data) = join!(
        network.name(),
        network.whatsapp(),
        network.version(),
        network.media(),
        store::redis(config),
        machine::data(config),
    );
    let mut checks = vec![name, proxy, whatsapp, version, media];
    checks.extend(redis);
    checks.extend([clock::compare(date, time), data, machine::descriptors(config)]);
    checks
}

/// The result of `work`, or `None` if it takes longer than [`LIMIT`].
async fn limited<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(LIMIT, work).await.ok()
}

/// The text for a check that took too long.
fn late() -> String {
    format!("no answer within {} s", LIMIT.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::new(vec![
            Check::ok("config", "every variable is right"),
            Check::fail("whatsapp", "a\nb\u{1b}c cannot be reached", "open port 443"),
            Check::warn("descriptors", "few", "raise them"),
        ])
    }

    #[test]
    fn a_report_has_a_line_for_each_check_and_one_for_all() {
        let expected = "ok    config       every variable is right\n\
            fail  whatsapp     a b c cannot be reached; open port 443\n\
            warn  descriptors  few; raise them\n\
            1 failure, 1 warning";
        assert_eq!(report().to_string(), expected);
    }

    #[test]
    fn json_holds_the_same() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["ok"], false);
        let expected = serde_json::json!({
            "name": "whatsapp", "result": "fail", "said": "a b c cannot be reached", "todo": "open port 443",
        });
        assert_eq!(json["checks"][1], expected);
        assert!(json["checks"][0]["todo"].is_null());
    }

    #[test]
    fn an_exit_code_stays_below_those_that_mean_other_things() {
        let failing = |count| Report::new(vec![Check::fail("data", "", ""); count]);
        assert_eq!([0, 1, 125, 126, 300].map(|count| failing(count).failures()), [0, 1, 125, 125, 125]);
        assert!(failing(0).ok && !failing(1).ok);
    }
}
