//! Stanzas on their way to a device: kept until the device sends a receipt, and delivered again at its next login.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use wacore_binary::Node;

/// Marks what was not delivered at once, as the client's count of an offline delivery expects.
fn offline(mut stanza: Node) -> Node {
    stanza.attrs.insert("offline", "0");
    stanza
}

/// How a device took a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged,
    /// It could not decrypt it and asked for it again.
    Retry,
}

/// A stanza that asks for a receipt.
pub(crate) struct Letter {
    pub(crate) id: String,
    pub(crate) stanza: Node,
    /// The channel to the caller that waits for the result, if there is one.
    pub(crate) report: Option<mpsc::UnboundedSender<Outcome>>,
}

/// The stanzas for one device, in order of arrival.
#[derive(Default)]
pub(crate) struct Mailbox {
    letters: VecDeque<(Letter, bool)>,
}

impl Mailbox {
    pub(crate) fn push(&mut self, letter: Letter) {
        self.letters.push_back((letter, false));
    }

    /// Everything that was not acknowledged, as a login gets it.
    pub(crate) fn all(&mut self) -> Vec<Node> {
        self.letters.iter_mut().for_each(|(_, sent)| *sent = true);
        self.letters.iter().map(|(letter, _)| offline(letter.stanza.clone())).collect()
    }

    /// What has come since the last delivery on this connection.
    pub(crate) fn fresh(&mut self) -> Vec<Node> {
        let fresh = self.letters.iter_mut().filter(|(_, sent)| !*sent);
        fresh.map(|(letter, sent)| (*sent = true, letter.stanza.clone()).1).collect()
    }

    /// Takes out the letter a receipt is for.
    pub(crate) fn settle(&mut self, id: &str, outcome: Outcome) -> bool {
        let Some(at) = self.letters.iter().position(|(letter, _)| letter.id == id) else { return false };
        let Some((letter, _)) = self.letters.remove(at) else { return false };
        if let Some(report) = letter.report {
            // The caller may have stopped waiting.
            let _gone = report.send(outcome);
        }
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }

    pub(crate) fn clear(&mut self) {
        self.letters.clear();
    }
}
