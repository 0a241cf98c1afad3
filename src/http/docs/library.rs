//! The documents, and the files that they refer to, embedded in the binary. `docs.rs` serves them, and the other files here read
//! them.
//!
//! A document refers to others by their paths in the repository, so that its links work on GitHub. [`address`] makes of such a
//! path the one under `/docs`.

use std::sync::OnceLock;

use crate::http::pages::{self, Prepared};

/// One file: its name under `/docs`, its path in the repository, and what it is.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    /// What the navigation says where the heading of the document would not do.
    pub(super) label: &'static str,
    pub(super) content: Content,
    pub(super) prepared: OnceLock<Prepared>,
}

pub(super) enum Content {
    /// Markdown, shown as a page.
    Document(&'static str),
    /// Sent as it is.
    File(&'static str, &'static [u8]),
}

macro_rules! document {
    ($name:literal, $file:literal, $label:literal) => {
        Entry {
            name: $name,
            file: $file,
            label: $label,
            content: Content::Document(include_str!(concat!("../../../", $file))),
            prepared: OnceLock::new(),
        }
    };
    ($name:literal) => {
        Entry {
            name: $name,
            file: concat!("docs/", $name, ".md"),
            label: "",
            content: Content::Document(include_str!(concat!("../../../docs/", $name, ".md"))),
            prepared: OnceLock::new(),
        }
    };
}

macro_rules! file {
    ($folder:literal, $name:literal, $kind:expr) => {
        Entry {
            name: $name,
            file: concat!($folder, "/", $name),
            label: "",
            content: Content::File($kind, include_bytes!(concat!("../../../", $folder, "/", $name))),
            prepared: OnceLock::new(),
        }
    };
}

const TEXT: &str = "text/plain; charset=utf-8";
const PNG: &str = "image/png";

/// The first one is the page `/docs`. A new document or picture is a line here.
pub(super) static LIBRARY: [Entry; 55] = [
    document!("", "docs/README.md", "Start here"),
    document!("readme", "README.md", "The README, with every call"),
    document!("package", "static/README.md", "The npm package"),
    document!("extension", "extension/README.md", "The passkey extension"),
    document!("changelog", "CHANGELOG.md", ""),
    document!("architecture"),
    document!("backup"),
    document!("behind-a-proxy"),
    document!("benchmarks"),
    document!("clients"),
    document!("command-line"),
    document!("configuration"),
    document!("dashboard"),
    document!("decisions"),
    document!("deploy"),
    document!("deploys-and-stopping"),
    document!("embedding"),
    document!("first-link"),
    document!("glossary"),
    document!("metrics"),
    document!("moving"),
    document!("operating"),
    document!("passkey"),
    document!("protocol"),
    document!("proxies"),
    document!("redis"),
    document!("redis-keys"),
    document!("releases"),
    document!("security"),
    document!("simulator"),
    document!("simulator-accounts"),
    document!("webhooks"),
    document!("whatsapp"),
    file!("docs", "alert-rules.yaml", TEXT),
    file!("docs", "grafana-dashboard.json", "application/json"),
    file!("docs/pictures", "dashboard-dark.png", PNG),
    file!("docs/pictures", "dashboard-light.png", PNG),
    file!("docs/pictures", "link-dark.png", PNG),
    file!("docs/pictures", "link-light.png", PNG),
    file!("docs/pictures", "scan-dark.png", PNG),
    file!("docs/pictures", "scan-light.png", PNG),
    file!("deploy", "compose.yaml", TEXT),
    file!("deploy", "fly.sqlite.toml", TEXT),
    file!("deploy", "qrcast.service", TEXT),
    file!("deploy/kubernetes", "configuration.yaml", TEXT),
    file!("deploy/kubernetes", "deployment.yaml", TEXT),
    file!("deploy/proxies", "Caddyfile", TEXT),
    file!("deploy/proxies", "Caddyfile-path", TEXT),
    file!("deploy/proxies", "apache-path.conf", TEXT),
    file!("deploy/proxies", "apache.conf", TEXT),
    file!("deploy/proxies", "haproxy-path.cfg", TEXT),
    file!("deploy/proxies", "haproxy.cfg", TEXT),
    file!("deploy/proxies", "nginx-path.conf", TEXT),
    file!("deploy/proxies", "nginx.conf", TEXT),
    file!("deploy/proxies", "qrcast-away.asis", TEXT),
];

/// A document, with its text.
#[derive(Clone, Copy)]
pub(super) struct Document {
    pub(super) entry: &'static Entry,
    pub(super) text: &'static str,
}

impl Document {
    /// The first heading, unless another word is set.
    pub(super) fn label(self) -> &'static str {
        let heading = self.text.lines().find_map(|line| line.strip_prefix("# "));
        if self.entry.label.is_empty() { heading.unwrap_or(self.entry.name) } else { self.entry.label }
    }
}

impl Entry {
    /// Where it is, seen from the server's root.
    pub(super) fn path(&self) -> String {
        if self.name.is_empty() { "docs".to_owned() } else { format!("docs/{}", self.name) }
    }

    pub(super) fn document(&'static self) -> Option<Document> {
        match self.content {
            Content::Document(text) => Some(Document { entry: self, text }),
            Content::File(..) => None,
        }
    }
}

/// The file of this name under `/docs`.
pub(super) fn named(name: &str) -> Option<&'static Entry> {
    LIBRARY.iter().find(|entry| entry.name == name)
}

/// The file that a document's link leads to; `None`: it is not served as a part of the documents.
pub(super) fn linked(from: &str, link: &str) -> Option<&'static Entry> {
    let file = in_repository(from, link);
    LIBRARY.iter().find(|entry| entry.file == file)
}

/// Where a document's link leads, seen from the server's root; `None`: to something that this server does not serve.
pub(super) fn address(from: &str, link: &str) -> Option<String> {
    let (path, anchor) = link.split_at(link.find('#').unwrap_or(link.len()));
    if let Some(entry) = linked(from, path) {
        return Some(entry.path() + anchor);
    }
    let file = in_repository(from, path);
    let module = file.strip_prefix("static").filter(|path| pages::is_one(path))?;
    Some(module.trim_start_matches('/').to_owned())
}

/// `../deploy/x` of a document in `docs/` as `deploy/x`.
fn in_repository(from: &str, link: &str) -> String {
    let mut parts: Vec<_> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_document_and_every_picture_is_in_the_library() {
        let files: BTreeSet<_> = LIBRARY.iter().map(|entry| entry.file.to_owned()).collect();
        let mut seen = 0;
        for folder in ["docs", "docs/pictures"].map(Path::new).into_iter().filter(|folder| folder.is_dir()) {
            for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_file() {
                    seen += 1;
                    assert!(files.contains(entry.to_str().unwrap()), "{} is not served", entry.display());
                }
            }
        }
        assert!(seen > 30, "{seen}");
        let names: BTreeSet<_> = LIBRARY.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), LIBRARY.len(), "two files have one name");
        assert!(!names.contains("api") && !names.contains("search"), "these are pages of their own");
    }

    /// What the image is built from: tests/it/deployment.rs reads no names that a macro puts together.
    #[test]
    fn no_file_of_the_library_is_kept_out_of_the_image() {
        let ignored = std::fs::read_to_string(".dockerignore").unwrap();
        let kept: Vec<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
        for entry in &LIBRARY {
            let is_kept = kept.iter().any(|kept| Path::new(entry.file).starts_with(kept));
            assert!(is_kept, "{} is ignored", entry.file);
        }
    }

    #[test]
    fn a_link_leads_to_what_is_served_or_nowhere() {
        for (from, link, expected) in [
            ("docs/README.md", "first-link.md", Some("docs/first-link")),
            ("docs/README.md", "deploy.md#keys-and-secrets", Some("docs/deploy#keys-and-secrets")),
            ("docs/deploy.md", "../deploy/proxies/nginx.conf", Some("docs/nginx.conf")),
            ("docs/deploy.md", "README.md", Some("docs")),
            ("README.md", "docs/pictures/link-dark.png", Some("docs/link-dark.png")),
            ("README.md", "static/README.md", Some("docs/package")),
            ("static/README.md", "words/en.js", Some("words/en.js")),
            ("docs/clients.md", "../static/qrcast.js", Some("qrcast.js")),
            ("README.md", "src/main.rs", None),
            ("README.md", "static", None),
            ("docs/README.md", "../../../etc/passwd", None),
        ] {
            assert_eq!(address(from, link).as_deref(), expected, "{from}: {link}");
        }
    }
}
