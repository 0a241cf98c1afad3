//! A document as HTML, and its sections: one way through the Markdown for both. `docs.rs` shows the HTML, and `search` looks through
//! the sections.

use std::collections::HashMap;

use maud::html;
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::library::{self, Document};

/// What is at these paths has no file in the repository: where a document names one as code, the page leads there.
const PLACES: [&str; 4] = ["/docs/api", "/openapi.json", "/asyncapi.json", "/admin"];

/// A document, ready to be put into a page.
pub(super) struct Rendered {
    pub(super) html: String,
    pub(super) sections: Vec<Section>,
}

/// What stands under one heading, before the next one.
#[derive(Default)]
pub(super) struct Section {
    pub(super) level: u8,
    /// The heading's anchor, as GitHub makes it.
    pub(super) id: String,
    pub(super) heading: String,
    /// Without any markup.
    pub(super) text: String,
}

/// `root` leads from the page to the server's root: it may be a folder behind a proxy.
pub(super) fn render(document: Document, root: &str) -> Rendered {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut writer = Writer { file: document.entry.file, root, ..Writer::default() };
    for event in Parser::new_ext(document.text, options) {
        writer.take(event);
    }
    let mut html = String::with_capacity(document.text.len() * 3 / 2);
    pulldown_cmark::html::push_html(&mut html, writer.events.into_iter());
    Rendered { html, sections: writer.sections }
}

#[derive(Default)]
struct Writer<'a> {
    file: &'a str,
    root: &'a str,
    events: Vec<Event<'a>>,
    sections: Vec<Section>,
    /// How often each anchor was made.
    anchors: HashMap<String, usize>,
    /// Where the heading that is being read begins among the events.
    heading: Option<(HeadingLevel, usize)>,
    /// Of each link that is open: whether it leads anywhere.
    links: Vec<bool>,
}

impl<'a> Writer<'a> {
    fn take(&mut self, event: Event<'a>) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                self.heading = Some((level, self.events.len()));
                self.sections.push(Section { level: level as u8, ..Section::default() });
            }
            Event::End(TagEnd::Heading(level)) => self.ends_heading(level),
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let target = self.target(&dest_url);
                self.links.push(target.is_some());
                if let Some(dest_url) = target {
                    self.events.push(Event::Start(Tag::Link { link_type, dest_url, title, id }));
                }
            }
            Event::End(TagEnd::Link) if self.links.pop() != Some(true) => {}
            Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
                let dest_url = self.target(&dest_url).unwrap_or(dest_url);
                self.events.push(Event::Start(Tag::Image { link_type, dest_url, title, id }));
            }
            // Tables and code are wider than a phone, and move within themselves; by keyboard too.
            Event::Start(Tag::Table(columns)) => {
                self.html(
                    "<div class=\"wide\" role=\"group\" aria-label=\"Table\" tabindex=\"0\">".to_owned(),
                );
                self.events.push(Event::Start(Tag::Table(columns)));
            }
            Event::End(TagEnd::Table) => {
                self.events.push(Event::End(TagEnd::Table));
                self.html("</div>".to_owned());
            }
            Event::Start(Tag::CodeBlock(_)) => self.html("<pre tabindex=\"0\"><code>".to_owned()),
            Event::End(TagEnd::CodeBlock) => self.html("</code></pre>\n".to_owned()),
            Event::Html(html) | Event::InlineHtml(html) => {
                let html = self.picture(&html);
                self.html(html);
            }
            Event::Code(code) => self.code(code),
            event => {
                self.tell(&event);
                self.events.push(event);
            }
        }
    }

    fn html(&mut self, html: String) {
        self.events.push(Event::Html(html.into()));
    }

    /// Adds to the text of the section.
    fn tell(&mut self, event: &Event<'_>) {
        let text = match event {
            Event::Text(text) => text,
            Event::SoftBreak
            | Event::HardBreak
            | Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::TableCell) => " ",
            _ => return,
        };
        let in_heading = self.heading.is_some();
        if let Some(section) = self.sections.last_mut() {
            if in_heading { &mut section.heading } else { &mut section.text }.push_str(text);
        }
    }

    fn code(&mut self, code: CowStr<'a>) {
        self.tell(&Event::Text(code.clone()));
        if PLACES.contains(&&*code) && self.links.is_empty() {
            let page = html! { a href={ (self.root) (code.trim_start_matches('/')) } { code { (&*code) } } };
            self.html(page.into_string());
        } else {
            self.events.push(Event::Code(code));
        }
    }

    /// The heading with its anchor, now that its words are known.
    fn ends_heading(&mut self, level: HeadingLevel) {
        let Some((_, begin)) = self.heading.take() else { return };
        let Some(section) = self.sections.last_mut() else { return };
        let slug = slug(&section.heading);
        let earlier = self.anchors.entry(slug.clone()).or_default();
        section.id = if *earlier == 0 { slug } else { format!("{slug}-{earlier}") };
        *earlier += 1;
        let id = Some(section.id.clone().into());
        let start = Tag::Heading { level, id, classes: Vec::new(), attrs: Vec::new() };
        self.events.insert(begin, Event::Start(start));
        self.events.push(Event::End(TagEnd::Heading(level)));
    }

    /// `None`: it leads to nothing that this server has.
    fn target(&self, link: &str) -> Option<CowStr<'a>> {
        if link.contains("://") || link.starts_with('#') {
            return Some(link.to_owned().into());
        }
        Some(format!("{}{}", self.root, library::address(self.file, link)?).into())
    }

    /// HTML in a document: a `<picture>` with its sources, for one that is light or dark. Everything else is shown as text.
    fn picture(&self, html: &str) -> String {
        let tags = html.split('<').skip(1);
        let known = ["picture>", "/picture>", "source ", "img "];
        if !tags.clone().all(|tag| known.iter().any(|known| tag.starts_with(known))) {
            return html! { (html) }.into_string();
        }
        let mut parts = html.split_inclusive("src=\"").flat_map(|part| part.split_inclusive("srcset=\""));
        let mut picture = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (file, rest) = part.split_once('"').unwrap_or((part, ""));
            picture.push_str(self.target(file).as_deref().unwrap_or_default());
            picture.push('"');
            picture.push_str(rest);
        }
        picture
    }
}

/// A heading's anchor, as GitHub makes it.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.flat_map(char::to_lowercase).map(|char| if char == ' ' { '-' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::library::{Content, Entry};
    use super::*;

    fn rendered(text: &'static str) -> Rendered {
        let entry = Entry {
            name: "test",
            file: "docs/backup.md",
            label: "",
            content: Content::Document(text),
            prepared: std::sync::OnceLock::new(),
        };
        render(Box::leak(Box::new(entry)).document().unwrap(), "../")
    }

    #[test]
    fn headings_have_the_anchors_of_github() {
        let page = rendered("# One & `two`\n\n## 2. Same (a)\n\ntext\n\n## 2. Same (a)\n");
        let ids: Vec<_> = page.sections.iter().map(|section| &*section.id).collect();
        assert_eq!(ids, ["one--two", "2-same-a", "2-same-a-1"]);
        assert!(page.html.contains("<h2 id=\"2-same-a-1\">2. Same (a)</h2>"), "{}", page.html);
        assert_eq!(page.sections[1].text.trim(), "text");
    }

    #[test]
    fn links_lead_to_what_is_served_and_the_others_are_words() {
        let page =
            rendered("[a](deploy.md#x) [`b`](../src/main.rs) [c](#d) <https://example.com> `/docs/api`");
        for expected in [
            "<a href=\"../docs/deploy#x\">a</a>",
            " <code>b</code> ",
            "<a href=\"#d\">c</a>",
            "<a href=\"https://example.com\">",
            "<a href=\"../docs/api\"><code>/docs/api</code></a>",
        ] {
            assert!(page.html.contains(expected), "{expected} in {}", page.html);
        }
    }

    #[test]
    fn html_is_text_but_for_pictures() {
        let page = rendered("a <script>alert(1)</script> <b onclick=\"x\">b</b>\n");
        assert!(!page.html.contains("<script") && !page.html.contains("<b "), "{}", page.html);
        let page = rendered(
            "<picture>\n  <source media=\"(prefers-color-scheme: dark)\" srcset=\"pictures/scan-dark.png\">\n  <img alt=\"A page\" src=\"pictures/scan-light.png\">\n</picture>\n",
        );
        let dark = "<source media=\"(prefers-color-scheme: dark)\" srcset=\"../docs/scan-dark.png\">";
        let light = "<img alt=\"A page\" src=\"../docs/scan-light.png\">";
        assert!(page.html.contains(dark) && page.html.contains(light), "{}", page.html);
    }
}
