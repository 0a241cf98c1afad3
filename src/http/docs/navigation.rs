//! The order of the documents, read from the table of `docs/README.md`: its bold rows are groups, its links what is in them. `layout`
//! asks.

use std::sync::LazyLock;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::library::{self, Document, LIBRARY};

/// A kind of need, and the documents for it.
pub(super) struct Group {
    pub(super) title: String,
    pub(super) documents: Vec<Document>,
    /// Whether the description of the API belongs here.
    pub(super) has_api: bool,
}

/// Each document once, where the table names it first. Every page shows them.
pub(super) fn groups() -> &'static [Group] {
    static GROUPS: LazyLock<Vec<Group>> = LazyLock::new(read);
    &GROUPS
}

fn read() -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let Some(index) = LIBRARY.first().and_then(|entry| entry.document()) else { return groups };
    let mut title: Option<String> = None;
    let events = Parser::new_ext(index.text, Options::ENABLE_TABLES);
    for event in events.skip_while(|event| !matches!(event, Event::Start(Tag::Table(_)))) {
        match event {
            Event::Start(Tag::Strong) => title = Some(String::new()),
            Event::Text(text) if title.is_some() => title.get_or_insert_default().push_str(&text),
            Event::End(TagEnd::Strong) => {
                let title = title.take().unwrap_or_default();
                groups.push(Group { title, documents: Vec::new(), has_api: false });
            }
            Event::Start(Tag::Link { dest_url, .. }) => {
                let path = dest_url.split('#').next().unwrap_or_default();
                let Some(found) = library::linked(index.entry.file, path).and_then(|entry| entry.document())
                else {
                    continue;
                };
                let known = |group: &Group| {
                    group.documents.iter().any(|document| document.entry.name == found.entry.name)
                };
                if !groups.iter().any(known)
                    && let Some(group) = groups.last_mut()
                {
                    group.documents.push(found);
                }
            }
            Event::Code(code) if &*code == "/docs/api" => {
                if let Some(group) = groups.last_mut() {
                    group.has_api = true;
                }
            }
            _ => {}
        }
    }
    groups
}

/// All documents in the order of the navigation; the first page comes first.
pub(super) fn in_order() -> Vec<Document> {
    let first = LIBRARY.first().and_then(|entry| entry.document());
    first.into_iter().chain(groups().iter().flat_map(|group| group.documents.iter().copied())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_stands_in_the_navigation_once() {
        let mut order: Vec<_> = in_order().iter().map(|document| document.entry.name).collect();
        let mut all: Vec<_> = LIBRARY
            .iter()
            .filter_map(super::library::Entry::document)
            .map(|document| document.entry.name)
            .collect();
        assert_eq!(&order[..2], ["", "first-link"]);
        order.sort_unstable();
        all.sort_unstable();
        assert_eq!(order, all);
        let groups = groups();
        let titles: Vec<_> = groups.iter().map(|group| &*group.title).collect();
        assert_eq!(titles, ["learn", "do something", "look something up", "understand"]);
        assert_eq!(groups.iter().filter(|group| group.has_api).count(), 1);
    }
}
