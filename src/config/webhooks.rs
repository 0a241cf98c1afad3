//! Who is sent webhooks, of which events, and what signs them.

use super::reader::Reader;
use crate::receiver::{self, ReceiverUrl, SigningKey};

/// The settings of webhooks.
#[derive(Clone, Debug, Default)]
pub struct WebhookSettings {
    /// The receivers of every session's events. `WEBHOOK_URLS`
    pub urls: Vec<ReceiverUrl>,
    /// What signs for these: with more than one, while a secret is replaced, each webhook has a signature of each.
    /// `WEBHOOK_SECRET`
    pub secrets: Vec<SigningKey>,
    /// The events that are sent; all if it is empty. `WEBHOOK_EVENTS`
    pub events: Vec<String>,
    /// Whether receivers may be at private addresses, and may be asked by plain HTTP. `WEBHOOK_ALLOW_PRIVATE`
    pub allow_private: bool,
}

/// The events there are, as the stream names them.
pub const WEBHOOK_EVENTS: [&str; 7] =
    ["qr", "code", "pairing_error", "passkey", "authenticated", "ready", "disconnected"];

impl WebhookSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let allow_private = reader.flag("WEBHOOK_ALLOW_PRIVATE");
        let allowed = format!("a comma list; each is {}, and stands there once", receiver::ALLOWED);
        let urls = reader.secret("WEBHOOK_URLS", &allowed, |text| urls(text, allow_private));
        let has_urls = reader.text("WEBHOOK_URLS").is_some();
        let secrets = reader.secret(
            "WEBHOOK_SECRET",
            "whsec_ and 24 to 64 bytes in base64, or a comma list of such",
            |text| text.split(',').map(|one| SigningKey::parse(one.trim())).collect::<Option<Vec<_>>>(),
        );
        if has_urls && reader.text("WEBHOOK_SECRET").is_none() {
            reader.missing(
                "WEBHOOK_SECRET",
                "what is sent to WEBHOOK_URLS is signed with it: set whsec_ and, for example, the output of `openssl rand -base64 32`",
            );
        }
        let events = reader.optional(
            "WEBHOOK_EVENTS",
            &format!("a comma list of {}", WEBHOOK_EVENTS.join(", ")),
            |text| {
                let known = |event: &str| WEBHOOK_EVENTS.contains(&event).then(|| event.to_owned());
                text.split(',').map(|event| known(event.trim())).collect::<Option<Vec<_>>>()
            },
        );
        Self {
            urls: urls.unwrap_or_default(),
            secrets: secrets.unwrap_or_default(),
            events: events.unwrap_or_default(),
            allow_private,
        }
    }
}

fn urls(text: &str, allow_private: bool) -> Option<Vec<ReceiverUrl>> {
    let urls: Vec<_> = text
        .split(',')
        .map(|url| ReceiverUrl::parse(url.trim(), allow_private).ok())
        .collect::<Option<_>>()?;
    let unique = urls.iter().enumerate().all(|(at, url)| !urls[..at].contains(url));
    unique.then_some(urls)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn said(variables: &[(&str, &str)]) -> Result<Config, String> {
        let read = Config::read(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        });
        read.map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn receivers_need_a_secret_and_no_mistake_repeats_one() {
        let url = ("WEBHOOK_URLS", "https://example.com/a?token=hunter2, https://example.com/b");
        let config =
            said(&[url, ("WEBHOOK_SECRET", SECRET), ("WEBHOOK_EVENTS", "ready, disconnected")]).unwrap();
        assert_eq!((config.webhooks.urls.len(), config.webhooks.events.len()), (2, 2));
        assert!(!format!("{config:?}").contains("hunter2") && !format!("{config:?}").contains(&SECRET[6..]));
        let without = said(&[url]).unwrap_err();
        assert!(without.starts_with("WEBHOOK_SECRET is not set; "), "{without}");
        for (name, wrong) in [
            ("WEBHOOK_URLS", "http://example.com/hunter2"),
            ("WEBHOOK_URLS", "https://example.com/hunter2,https://example.com/hunter2"),
            ("WEBHOOK_SECRET", "hunter2"),
            ("WEBHOOK_EVENTS", "message"),
        ] {
            let words = said(
                &[("WEBHOOK_SECRET", SECRET), (name, wrong)]
                    .map(|(key, value)| if key == name { (key, wrong) } else { (key, value) }),
            )
            .unwrap_err();
            assert!(words.starts_with(&format!("{name}: ")) && !words.contains("hunter2"), "{words}");
        }
        let two = format!("{SECRET},whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
        assert_eq!(said(&[url, ("WEBHOOK_SECRET", &two)]).unwrap().webhooks.secrets.len(), 2);
    }
}
