//! The text and the link that WhatsApp adds to the code with which it ends a login. `translate` reads them.
//!
//! They are attributes of its `<failure>`. The library's events carry some of the attributes, and always the stanza.
//! Source: `failureParser` as described in wacore 0.7.0, `stanza/connect_failure.rs`.

use whatsapp_rust::wacore_binary::Node;

/// The longest text that is passed on, in characters.
const LONGEST: usize = 500;

/// A text and a link from WhatsApp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// The code followed by the text, or one of them.
    pub(super) detail: Option<String>,
    /// A page of WhatsApp with more information.
    pub(super) help: Option<String>,
}

impl Words {
    /// Reads the stanza that ended a login. `code` is the one of the event.
    pub(super) fn of(code: Option<i32>, stanza: Option<&Node>) -> Self {
        let attribute = |name: &str| {
            let value = stanza?.attrs.get(name)?.as_str();
            let text = clean(&value);
            (!text.is_empty()).then_some(text)
        };
        let headline = [attribute("logout_message_header"), attribute("logout_message_subtext")];
        let said: Vec<_> = [attribute("message")].into_iter().chain(headline).flatten().collect();
        let words = (!said.is_empty()).then(|| said.join(": "));
        let detail = match (code, words) {
            (Some(code), Some(words)) => Some(format!("{code}: {words}")),
            (Some(code), None) => Some(code.to_string()),
            (None, words) => words,
        };
        Self { detail, help: attribute("url").filter(|url| is_whatsapps(url)) }
    }
}

/// Removes line breaks and other characters that could change a log or a page.
fn clean(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").chars().take(LONGEST).collect()
}

/// Whether a link leads to WhatsApp.
fn is_whatsapps(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default();
    let known = host == "wa.me" || host == "whatsapp.com" || host.ends_with(".whatsapp.com");
    known
        && url.scheme() == "https"
        && url.username().is_empty()
        && url.password().is_none()
        && url.port().is_none()
}

#[cfg(test)]
mod tests {
    use whatsapp_rust::wacore_binary::builder::NodeBuilder;

    use super::*;

    #[test]
    fn what_whatsapp_says_follows_the_code() {
        let failure = NodeBuilder::new("failure")
            .attr("reason", "403")
            .attr("logout_message_header", "Account locked")
            .attr("logout_message_subtext", "Open WhatsApp\non your phone")
            .attr("url", "https://faq.whatsapp.com/1")
            .build();
        let words = Words::of(Some(403), Some(&failure));
        assert_eq!(words.detail.as_deref(), Some("403: Account locked: Open WhatsApp on your phone"));
        assert_eq!(words.help.as_deref(), Some("https://faq.whatsapp.com/1"));
        let silent = NodeBuilder::new("failure").attr("reason", "406").build();
        assert_eq!(Words::of(Some(406), Some(&silent)).detail.as_deref(), Some("406"));
        assert_eq!(Words::of(None, None), Words::default());
    }

    #[test]
    fn a_link_leads_to_whatsapp_or_is_none() {
        for url in ["https://whatsapp.com/x", "https://faq.whatsapp.com", "https://wa.me/1"] {
            assert!(is_whatsapps(url), "{url}");
        }
        for url in [
            "http://whatsapp.com/x",
            "https://whatsapp.com.evil.example",
            "https://evilwhatsapp.com",
            "https://whatsapp.com@evil.example",
            "https://user@whatsapp.com",
            "https://whatsapp.com:8443/",
            "https://sub.wa.me/",
            "javascript:alert(1)//whatsapp.com",
            "",
        ] {
            assert!(!is_whatsapps(url), "{url}");
        }
    }
}
