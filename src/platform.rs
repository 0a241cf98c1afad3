//! The platform that a linked device claims to be. It decides only which icon the phone shows. It is a setting that the
//! WhatsApp client uses.

use std::str::FromStr;

/// A browser or a desktop program. WhatsApp knows other platforms (phones, watches, its Cloud API), but some of those
/// have to prove what they are, so a server should not claim them.
/// Source: `DeviceProps.PlatformType` in waproto 0.7.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Platform {
    /// Google Chrome, which most people link.
    #[default]
    Chrome,
    /// Microsoft Edge.
    Edge,
    /// Mozilla Firefox.
    Firefox,
    /// Internet Explorer.
    Ie,
    /// Opera.
    Opera,
    /// Safari.
    Safari,
    /// WhatsApp's program for desktops.
    Desktop,
    /// WhatsApp's program for Windows.
    Uwp,
}

impl Platform {
    /// All platforms.
    pub const ALL: [Platform; 8] = [
        Platform::Chrome,
        Platform::Edge,
        Platform::Firefox,
        Platform::Ie,
        Platform::Opera,
        Platform::Safari,
        Platform::Desktop,
        Platform::Uwp,
    ];

    /// The word in a setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Platform::Chrome => "chrome",
            Platform::Edge => "edge",
            Platform::Firefox => "firefox",
            Platform::Ie => "ie",
            Platform::Opera => "opera",
            Platform::Safari => "safari",
            Platform::Desktop => "desktop",
            Platform::Uwp => "uwp",
        }
    }
}

/// The word is not the name of a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a platform is one of chrome, edge, firefox, ie, opera, safari, desktop, uwp")]
pub struct UnknownPlatform;

impl FromStr for Platform {
    type Err = UnknownPlatform;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |platform: &Platform| platform.as_str().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(named).ok_or(UnknownPlatform)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_is_read_by_its_word_and_named_in_the_error() {
        for platform in Platform::ALL {
            assert_eq!(platform.as_str().parse(), Ok(platform));
            assert!(UnknownPlatform.to_string().contains(platform.as_str()));
        }
        assert_eq!("Safari".parse(), Ok(Platform::Safari));
        assert_eq!("cloud_api".parse::<Platform>(), Err(UnknownPlatform));
    }
}
