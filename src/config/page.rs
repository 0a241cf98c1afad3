//! How the live page looks: its title and its logo.

use url::Url;

use super::origin::Origin;
use super::reader::Reader;

/// The longest title, in characters: what a tab and a phone's narrow screen show of one.
const MAX_TITLE: usize = 60;

/// How the live page looks.
#[derive(Clone, Debug)]
pub struct PageSettings {
    /// What it is called; in the reader's language if it is `None`. `PAGE_TITLE`
    pub title: Option<String>,
    /// The picture beside the title. `PAGE_LOGO_URL`
    pub logo: Option<LogoUrl>,
}

/// The address of a picture on another server, or on this one.
#[derive(Clone, Debug)]
pub struct LogoUrl {
    url: Url,
    origin: Origin,
}

impl PageSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let allowed = format!("1 to {MAX_TITLE} characters, none of them a control character");
        Self {
            title: reader.optional("PAGE_TITLE", &allowed, |text| {
                let fits = text.chars().count() <= MAX_TITLE && !text.chars().any(char::is_control);
                fits.then(|| text.to_owned())
            }),
            logo: reader.optional("PAGE_LOGO_URL", "an https:// or http:// URL of a picture", LogoUrl::parse),
        }
    }
}

impl LogoUrl {
    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let origin = Origin::parse(&url.origin().ascii_serialization())?;
        (url.username().is_empty() && url.password().is_none()).then_some(Self { url, origin })
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Whom the page's policy must allow to send a picture.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}
