//! The answer to a question of a logged-in device. `iq` and the files it asks make one; `login` sends it.

use wacore_binary::Node;

use super::stanza;

/// The stanza to send, the complaint to note, and what to do next.
pub(super) struct Answer {
    pub(super) node: Node,
    pub(super) after: After,
    pub(super) complaint: Option<String>,
}

/// What the connection does after it has sent an answer.
pub(super) enum After {
    Nothing,
    /// The device is active: it gets what it missed.
    Offline,
    /// The device removed itself.
    Removed,
}

impl Answer {
    pub(super) fn plain(node: Node) -> Self {
        Self { node, after: After::Nothing, complaint: None }
    }

    /// Refuses, and says why in the log.
    pub(super) fn refuse(id: &str, code: u16, text: &str, complaint: String) -> Self {
        Self { node: stanza::error(id, code, text), after: After::Nothing, complaint: Some(complaint) }
    }
}
