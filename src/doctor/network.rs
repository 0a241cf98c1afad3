//! Checks the connection to WhatsApp: its host name, the proxy, the WebSocket, the version look-up, a media host.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tokio::net::lookup_host;

use super::clock::Moment;
use super::{Check, late, limited};
use crate::config::Config;
use crate::whatsapp::checkup::{BuiltIn, Checkup, Unreached};

/// WhatsApp refuses a version about this many days after it appeared.
const REFUSED_AFTER_DAYS: i32 = 120;

/// The way to WhatsApp that this configuration names.
pub(super) struct Network<'a> {
    config: &'a Config,
    checkup: Checkup,
    /// A variable of the environment that names a proxy and is ignored.
    other_proxy: Option<&'a str>,
}

impl<'a> Network<'a> {
    pub(super) fn new(config: &'a Config, other_proxy: Option<&'a str>) -> Self {
        let proxy = config.proxy.clone();
        #[cfg(feature = "simulator")]
        let checkup = match &config.whatsapp_url {
            Some(url) => Checkup::of_simulator(url, proxy),
            None => Checkup::new(proxy),
        };
        #[cfg(not(feature = "simulator"))]
        let checkup = Checkup::new(proxy);
        Self { config, checkup, other_proxy }
    }

    /// Looks up the name of WhatsApp or, if there is a proxy, the proxy's name: the proxy then looks up WhatsApp's.
    pub(super) async fn name(&self) -> Check {
        const NAME: &str = "name";
        let (host, port) = match &self.config.proxy {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => self.checkup.endpoint(),
        };
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        if plain.parse::<IpAddr>().is_ok() {
            return Check::ok(NAME, format!("{plain} is an address and needs no look-up"));
        }
        let looked_up = async { lookup_host((plain, port)).await.map(Iterator::count) };
        let why = match limited(looked_up).await {
            Some(Ok(1)) => return Check::ok(NAME, format!("{plain} has 1 address")),
            Some(Ok(count)) if count > 0 => return Check::ok(NAME, format!("{plain} has {count} addresses")),
            Some(Ok(_)) => "it has no address".into(),
            Some(Err(error)) => error.to_string(),
            None => late(),
        };
        let todo = match &self.config.proxy {
            Some(_) => "see that the name in WA_PROXY is right, and that this machine's DNS knows it",
            None => "mend this machine's DNS, or set WA_PROXY to a proxy that looks names up",
        };
        Check::fail(NAME, format!("cannot look up {plain}: {why}"), todo)
    }

    /// Checks the proxy, and the WebSocket of WhatsApp through it or directly.
    pub(super) async fn whatsapp(&self) -> (Check, Check) {
        let reached = limited(self.checkup.websocket()).await;
        (self.proxy(reached.as_ref()), self.websocket(reached))
    }

    fn proxy(&self, reached: Option<&Result<(), Unreached>>) -> Check {
        const NAME: &str = "proxy";
        let Some(proxy) = &self.config.proxy else {
            return Check::ok(NAME, "none: WA_PROXY is not set, WhatsApp is reached directly");
        };
        match reached {
            // The proxy answered about WhatsApp, so it had accepted the user name and password.
            Some(Ok(()) | Err(Unreached::WhatsApp(_))) => {
                let taken = if proxy.credentials().is_some() { ", user and password were taken" } else { "" };
                Check::ok(NAME, format!("{proxy} answers{taken}"))
            }
            Some(Err(Unreached::Proxy(why))) => {
                Check::fail(NAME, why, "see that it runs and that WA_PROXY names it, its user and password")
            }
            None => {
                let said = format!("nothing came through {proxy}: {}", late());
                Check::warn(NAME, said, "see that WA_PROXY names its port and the right protocol")
            }
        }
    }

    fn websocket(&self, reached: Option<Result<(), Unreached>>) -> Check {
        const NAME: &str = "whatsapp";
        let at = self.endpoint();
        let why = match reached {
            Some(Ok(())) => return Check::ok(NAME, format!("{at} takes a WebSocket{}", self.by())),
            Some(Err(unreached)) => brief(&unreached.to_string(), self.checkup.endpoint().0),
            None => late(),
        };
        Check::fail(NAME, format!("cannot connect to {at}: {why}"), self.open_up(&why))
    }

    /// Which version of WhatsApp Web would be claimed, and whether WhatsApp takes it.
    pub(super) async fn version(&self) -> Check {
        let found = limited(self.checkup.newest_version()).await.unwrap_or_else(|| Err(late()));
        let found = found.map_err(|why| brief(&why, ""));
        match self.config.whatsapp_version {
            Some((_, _, fixed)) => fixed_version(fixed, found),
            None => looked_up_version(found, BuiltIn::THIS, age(BuiltIn::THIS.appeared)),
        }
    }

    /// Whether a media host answers, and what its clock says.
    pub(super) async fn media(&self) -> (Check, Option<Moment>) {
        const NAME: &str = "media";
        let why = match limited(self.checkup.media()).await {
            Some(Ok(visited)) => {
                let moment = visited.date.as_deref().and_then(Moment::of_http);
                let said = format!("a media host answers{} (HTTP {})", self.by(), visited.status);
                return (Check::ok(NAME, said), moment);
            }
            Some(Err(why)) => brief(&why, ""),
            None => late(),
        };
        let todo = format!("no link is complete without it: {}", self.open_up(&why));
        (Check::fail(NAME, format!("cannot ask a media host: {why}"), todo), None)
    }

    fn endpoint(&self) -> String {
        let (host, port) = self.checkup.endpoint();
        format!("{host}:{port}")
    }

    fn by(&self) -> String {
        self.config.proxy.as_ref().map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default()
    }

    fn open_up(&self, why: &str) -> String {
        if why.starts_with("TLS with ") {
            return "see that nothing on the way opens the TLS of *.whatsapp.com and *.whatsapp.net, and that the clock is right"
                .into();
        }
        let ports = match self.checkup.endpoint() {
            ("web.whatsapp.com", port) => {
                format!("open port {port} outwards, to *.whatsapp.com and *.whatsapp.net")
            }
            // A simulator listens on another port.
            (_, port) => format!("see that the address is right and that something listens on port {port}"),
        };
        match (&self.config.proxy, self.other_proxy) {
            (Some(proxy), _) => format!("see what the proxy {proxy} lets through"),
            (None, None) => format!("{ports}, or set WA_PROXY"),
            (None, Some(other)) => format!("{ports}, or set WA_PROXY ({other} is ignored)"),
        }
    }
}

/// Shortens an error to what was tried and what went wrong. The parts that libraries add in between are left out, and
/// so is a host that the line names anyway.
fn brief(why: &str, host: &str) -> String {
    let said = format!("{host} cannot be reached");
    let tells = |part: &&str| {
        !matches!(*part, "client error (Connect)" | "tcp connect error" | "dns error")
            && !part.starts_with("HTTP request to ")
            && *part != said
    };
    let mut parts: Vec<_> = why.split(": ").filter(tells).collect();
    if parts.len() > 2 && parts[0].ends_with(" cannot be asked") {
        parts.remove(0);
    }
    parts.join(": ")
}

const VERSION: &str = "version";

/// How many days ago a day was.
fn age(day: &str) -> Option<i32> {
    let day: Date = day.parse().ok()?;
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    day.until(today).ok().map(|span| span.get_days())
}

fn fixed_version(fixed: u32, found: Result<u32, String>) -> Check {
    let said = format!("WA_VERSION=2.3000.{fixed} is claimed, and nothing is looked up");
    match found {
        Ok(newest) if newest > fixed => Check::warn(
            VERSION,
            format!("{said}; WhatsApp serves 2.3000.{newest} by now"),
            "unset WA_VERSION: WhatsApp refuses a version about four months after it appeared",
        ),
        Ok(_) => Check::ok(VERSION, said),
        Err(why) => Check::ok(VERSION, format!("{said}; whether it is the newest is not known: {why}")),
    }
}

fn looked_up_version(found: Result<u32, String>, built_in: BuiltIn, age: Option<i32>) -> Check {
    let BuiltIn { build, appeared } = built_in;
    let days = age.map(|days| format!(", {days} days ago")).unwrap_or_default();
    let own = format!("2.3000.{build} is built in and appeared on {appeared}{days}");
    let update = "update qrcast, or set WA_VERSION to what https://web.whatsapp.com/sw.js names";
    let mend = "see why https://web.whatsapp.com/sw.js cannot be had from here, or update qrcast";
    match found {
        Ok(newest) if newest > build => Check::ok(
            VERSION,
            format!("2.3000.{newest} was looked up and is newer than the one built in ({own})"),
        ),
        Ok(newest) if newest == build => Check::ok(VERSION, format!("2.3000.{newest} was looked up ({own})")),
        Ok(older) => {
            let said = format!("2.3000.{older} was looked up, which is older and not believed: {own}");
            Check::warn(VERSION, said, update)
        }
        Err(why) if age.is_none_or(|days| days < REFUSED_AFTER_DAYS) => {
            Check::warn(VERSION, format!("the look-up failed: {why}; {own}"), mend)
        }
        Err(why) => {
            let said = format!("the look-up failed: {why}; {own}, and is refused after four months");
            Check::fail(VERSION, said, mend)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Finding;

    const OWN: BuiltIn = BuiltIn { build: 1000, appeared: "2026-07-08" };

    #[test]
    fn a_look_up_is_judged_by_what_is_built_in() {
        let result = |found: Result<u32, &str>, age| {
            looked_up_version(found.map_err(str::to_owned), OWN, Some(age)).result
        };
        assert_eq!(result(Ok(1001), 400), Finding::Ok);
        assert_eq!(result(Ok(1000), 0), Finding::Ok);
        assert_eq!(result(Ok(0), 10), Finding::Warn);
        assert_eq!(result(Err("refused"), 119), Finding::Warn);
        assert_eq!(result(Err("refused"), 120), Finding::Fail);
        let said = looked_up_version(Ok(1001), OWN, Some(140)).said;
        assert!(said.contains("2.3000.1001") && said.contains("2026-07-08, 140 days ago"), "{said}");
    }

    #[test]
    fn a_fixed_version_is_compared_and_never_fails() {
        assert_eq!(fixed_version(7, Ok(8)).result, Finding::Warn);
        assert_eq!(fixed_version(7, Ok(7)).result, Finding::Ok);
        assert_eq!(fixed_version(7, Err("refused".into())).result, Finding::Ok);
    }

    #[test]
    fn what_went_wrong_is_told_without_the_libraries_words() {
        let found = "HTTP request to https://web.whatsapp.com/sw.js failed: h cannot be asked: client error (Connect): \
            h cannot be reached: tcp connect error: Connection refused (os error 111)";
        assert_eq!(brief(found, ""), "h cannot be reached: Connection refused (os error 111)");
        assert_eq!(brief("h cannot be reached: dns error: not known", "h"), "not known");
        assert_eq!(brief("h cannot be asked: broken", "h"), "h cannot be asked: broken");
    }

    #[test]
    fn the_built_in_one_has_an_age() {
        assert!(age(BuiltIn::THIS.appeared).is_some());
        assert_eq!(age("never"), None);
    }
}
