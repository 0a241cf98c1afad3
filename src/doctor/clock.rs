//! Compares this machine's clock with those of WhatsApp and Redis.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use super::Check;

const NAME: &str = "clock";

/// From this difference on, in seconds, people see wrong countdowns of QRs.
const NOTICEABLE: i64 = 5_000;

/// From this difference on, in seconds, certificates may seem expired or not yet valid, and the times of events
/// mislead.
const WRONG: i64 = 5 * 60_000;

/// Two clocks read at the same moment, as Unix time in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The other machine's clock.
    there: i64,
    /// This machine's clock.
    here: i64,
}

impl Moment {
    /// Compares a time that was read at the other machine just now.
    pub(super) fn now(there: i64) -> Self {
        Self { there, here: Timestamp::now().as_millisecond() }
    }

    /// The same for a time of an HTTP header. It has whole seconds, so half a second is added.
    pub(super) fn of_http(date: &str) -> Option<Self> {
        DateTimeParser::new().parse_timestamp(date).ok().map(|there| Self::now(there.as_millisecond() + 500))
    }
}

/// The check against the clocks of WhatsApp and of Redis.
pub(super) fn compare(whatsapp: Option<Moment>, redis: Option<Moment>) -> Check {
    let known = [(whatsapp, "WhatsApp"), (redis, "Redis")];
    let known = known.iter().filter_map(|(moment, whose)| Some((ahead(*(moment.as_ref()?)), *whose)));
    let known: Vec<_> = known.collect();
    let Some(farthest) = known.iter().map(|(ahead, _)| ahead.abs()).max() else {
        return Check::warn(NAME, "nobody told the time", "look at `date -u`, and run NTP");
    };
    let said = known.iter().map(|(ahead, whose)| words(*ahead, whose)).collect::<Vec<_>>().join(", ");
    let todo = "run NTP here (and where Redis runs)";
    if farthest > WRONG {
        Check::fail(NAME, said, todo)
    } else if farthest > NOTICEABLE {
        Check::warn(NAME, said, todo)
    } else {
        Check::ok(NAME, said)
    }
}

fn ahead(moment: Moment) -> i64 {
    moment.here.saturating_sub(moment.there)
}

fn words(ahead: i64, whose: &str) -> String {
    let seconds = (ahead.abs() + 500) / 1000;
    match ahead {
        _ if seconds <= 1 => format!("agrees with {whose}"),
        1.. => format!("{seconds} s ahead of {whose}"),
        _ => format!("{seconds} s behind {whose}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Finding;

    fn moment(ahead: i64) -> Option<Moment> {
        Some(Moment { there: 1_000_000_000_000, here: 1_000_000_000_000 + ahead })
    }

    #[test]
    fn clocks_that_agree_are_right_and_others_are_told() {
        let found = |whatsapp, redis| {
            let check = compare(whatsapp, redis);
            (check.result, check.said)
        };
        assert_eq!(found(moment(400), None), (Finding::Ok, "agrees with WhatsApp".into()));
        let both = (Finding::Warn, "agrees with WhatsApp, 60 s behind Redis".into());
        assert_eq!(found(moment(-300), moment(-60_000)), both);
        assert_eq!(found(moment(7_200_000), None), (Finding::Fail, "7200 s ahead of WhatsApp".into()));
        assert_eq!(found(None, None).0, Finding::Warn);
    }

    #[test]
    fn a_date_of_http_is_read() {
        let read = Moment::of_http("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(read.there, 784_111_777_500);
        assert!(Moment::of_http("yesterday").is_none());
    }
}
