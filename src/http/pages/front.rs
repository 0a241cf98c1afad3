//! The live page as this server's settings want it: its title, its logo, and what its script must know of the server. `pages`
//! asks; `static/live.js` reads the attributes.

use std::fmt::Write as _;

use crate::config::Config;

/// The page's name where none is set, as `static/index.html` has it.
const TITLE: &str = "Link WhatsApp";

/// `static/index.html` with the settings in it.
pub(super) fn page(body: &str, config: &Config) -> String {
    let mut attributes = String::new();
    if config.security.is_open() {
        attributes.push_str(" data-open");
    }
    let origins = &config.security.origins;
    let mut returns: Vec<_> = origins.rules.iter().map(ToString::to_string).collect();
    returns.extend(origins.any.then(|| "*".to_owned()));
    if !returns.is_empty() {
        // Writing into a text does not fail.
        let _ = write!(attributes, " data-returns=\"{}\"", escaped(&returns.join(" ")));
    }
    let mut page = body.to_owned();
    if let Some(title) = config.page.title.as_deref().map(escaped) {
        let _ = write!(attributes, " data-title=\"{title}\"");
        for tag in ["title", "h1"] {
            page = page.replacen(&format!("<{tag}>{TITLE}</{tag}>"), &format!("<{tag}>{title}</{tag}>"), 1);
        }
    }
    if let Some(logo) = &config.page.logo {
        page = page.replacen("<img src=\"icon.svg\"", &format!("<img src=\"{}\"", escaped(logo.as_str())), 1);
    }
    page.replacen("<html", &format!("<html{attributes}"), 1)
}

/// A page whose script must only know that this server has no keys.
pub(super) fn opened(body: &str) -> String {
    body.replacen("<html", "<html data-open", 1)
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = include_str!("../../../static/index.html");

    fn with(variables: &[(&str, &str)]) -> String {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        page(BODY, &Config::read(variable).unwrap())
    }

    #[test]
    fn a_server_without_settings_has_the_page_as_it_is() {
        assert_eq!(with(&[]), BODY.replacen("<html", "<html data-open", 1));
        assert_eq!(with(&[("API_KEYS", "main:a-secret-of-some-length")]), BODY);
    }

    #[test]
    fn title_and_logo_stand_in_the_page_and_cannot_leave_their_place() {
        let page = with(&[
            ("PAGE_TITLE", "Ada & \"Söhne\" <b>"),
            ("PAGE_LOGO_URL", "https://cdn.example.com/logo.png?a=1&b=\"2\""),
            ("ALLOWED_ORIGINS", "https://app.example.com,https://*.example.org"),
        ]);
        let title = "Ada &amp; &quot;Söhne&quot; &lt;b&gt;";
        for expected in [
            format!("<title>{title}</title>"),
            format!("<h1>{title}</h1>"),
            format!("data-title=\"{title}\""),
            "<img src=\"https://cdn.example.com/logo.png?a=1&amp;b=%222%22\" alt=\"\">".to_owned(),
            "<html data-open data-returns=\"https://app.example.com https://*.example.org\"".to_owned(),
        ] {
            assert!(page.contains(&expected), "{expected} in {page}");
        }
        assert!(!page.contains("Link WhatsApp</") && !page.contains("src=\"icon.svg\""), "{page}");
    }
}
