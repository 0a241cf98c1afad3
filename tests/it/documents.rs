//! The documents: every link leads somewhere, every page that code names is there, and the README's calls are the server's.
//!
//! What a page says of the variables, the metrics, the files for hosts or the tests is compared in settings.rs, metrics.rs,
//! deployment.rs and house.rs.

use std::path::{Path, PathBuf};

use qrcast::config::SETTINGS;
use qrcast::http::{Access, table};

/// What commands of the documents set that qrcast does not read: shell variables, a host's, a build's.
const NOT_OURS: [&str; 5] = ["ID", "KEY", "QRCAST_KEY", "RAILWAY_RUN_UID", "JEMALLOC_SYS_WITH_LG_PAGE"];

#[test]
fn every_link_leads_to_a_file_and_to_a_heading_of_it() {
    let mut links = 0;
    for page in pages() {
        for target in targets(&prose(&page)) {
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(file.exists(), "{} links to {target}, which is not there", page.display());
            let found = anchor.is_empty() || headings(&file).iter().any(|heading| slug(heading) == anchor);
            assert!(found, "{} links to {target}, and no heading there is called so", page.display());
        }
    }
    assert!(links > 50, "{links}");
}

#[test]
fn the_index_leads_to_every_page() {
    let links = targets(&prose(Path::new("docs/README.md")));
    for page in files_in(Path::new("docs")).iter().filter(|page| is(page, &["md", "yaml", "json"])) {
        let name = page.file_name().unwrap().to_str().unwrap();
        let linked = links.iter().any(|link| link.split('#').next() == Some(name));
        assert!(linked || name == "README.md", "docs/README.md does not lead to {name}");
    }
}

#[test]
fn every_variable_that_a_page_sets_is_a_setting() {
    let mut set = 0;
    for page in pages() {
        let text = read(&page);
        for (end, _) in text.match_indices('=') {
            let is_part = |char: char| char.is_ascii_uppercase() || char.is_ascii_digit() || char == '_';
            let name = text[..end].rsplit(|char| !is_part(char)).next().unwrap();
            let before = text[..end - name.len()].chars().next_back();
            let is_variable = name.starts_with(|char: char| char.is_ascii_uppercase())
                && before.is_none_or(|char| " `'\"\n".contains(char));
            if !is_variable || NOT_OURS.contains(&name) {
                continue;
            }
            set += 1;
            let known = SETTINGS.iter().any(|setting| setting.name == name);
            assert!(known, "{} sets {name}, which nothing reads", page.display());
        }
    }
    assert!(set > 30, "{set}");
}

/// The checklist repeats them as a person would write them.
#[test]
fn the_checklist_has_the_limits_that_are_the_defaults() {
    let page = read(Path::new("docs/deploy.md"));
    let limits: Vec<_> = page.lines().filter(|line| line.starts_with("| limits ")).collect();
    let said: Vec<_> = limits.iter().flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    assert!(said.len() > 5, "{said:?}");
    for (name, value) in said.iter().map(|limit| limit.split_once('=').unwrap()) {
        let setting = SETTINGS.iter().find(|setting| setting.name == name).unwrap();
        assert_eq!(setting.default, value, "{name} in docs/deploy.md");
    }
}

#[test]
fn the_page_on_deploying_leads_to_the_file_of_every_host() {
    let links = targets(&prose(Path::new("docs/deploy.md")));
    let mut hosts =
        vec![PathBuf::from("fly.toml"), PathBuf::from("railway.json"), PathBuf::from("deploy/kubernetes")];
    hosts.extend(files_in(Path::new("deploy")));
    assert!(hosts.len() >= 6, "{hosts:?}");
    for host in hosts {
        assert!(host.exists(), "{}", host.display());
        let link = format!("../{}", host.display());
        assert!(links.contains(&link), "docs/deploy.md does not lead to {}", host.display());
    }
}

/// `## 7. Title (2026-11-24)`: a reader can name a decision, and see what was known when it was made.
#[test]
fn decisions_are_numbered_and_dated_in_order() {
    let headings = headings(Path::new("docs/decisions.md"));
    let (_title, decisions) = headings.split_first().unwrap();
    let (scope, decisions) = decisions.split_last().unwrap();
    assert_eq!(scope, "Out of scope");
    let mut before = "";
    for (index, decision) in decisions.iter().enumerate() {
        assert!(decision.starts_with(&format!("{}. ", index + 1)), "not number {}: {decision}", index + 1);
        let date =
            decision.rsplit_once(" (").and_then(|(_, date)| date.strip_suffix(')')).unwrap_or_default();
        let is_date = date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        assert!(is_date && before <= date, "{decision} has no date, or one before {before}");
        before = date;
    }
}

/// A comment names a page by its path, and a part of it by the heading, in quotes after a comma.
#[test]
fn every_page_that_the_code_names_is_there() {
    let mut named = 0;
    for file in texts() {
        let text = read(&file);
        for (start, _) in text.match_indices("docs/") {
            let before = text[..start].bytes().next_back();
            if before.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"/-".contains(&byte)) {
                continue;
            }
            let rest = &text[start..];
            let Some(page) = ["md", "yaml", "json"].iter().find_map(|kind| named_file(rest, kind)) else {
                continue;
            };
            named += 1;
            assert!(Path::new(page).exists(), "{} names {page}, which is not there", file.display());
            if let Some(quoted) = rest[page.len()..].strip_prefix(", \"") {
                let title = quoted.split('"').next().unwrap();
                let found = headings(Path::new(page)).iter().any(|heading| heading == title);
                assert!(found, "{} names \"{title}\" of {page}, which has no such heading", file.display());
            }
        }
    }
    assert!(named > 10, "{named}");
}

#[test]
fn the_readme_lists_every_call_and_who_may_make_it() {
    let readme = read(Path::new("README.md"));
    let rows = readme.split("## The calls").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut listed = Vec::new();
    for row in rows.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.split(" | ");
        let (calls, who) = (cells.next().unwrap(), cells.next().unwrap());
        let calls = calls.split('`').skip(1).step_by(2).filter_map(|call| call.split_once(" /"));
        listed.extend(calls.map(|(method, path)| (format!("{method} /{path}"), who.to_owned())));
    }
    for (method, path, access) in table() {
        let call = format!("{method} {path}");
        let found = listed.iter().position(|(listed, _)| *listed == call);
        // What only the live page fetches is no call.
        let Some(at) = found else {
            assert!(access == Access::Everyone && path.contains('.'), "README.md lacks {call}");
            continue;
        };
        let (_, who) = listed.swap_remove(at);
        let expected = match access {
            Access::Everyone => who == "everyone",
            Access::Operator => who == "key for all users",
            Access::Key => who == "key",
            Access::Follow | Access::Read => who == "key, token",
            Access::Link => who.starts_with("key") && who.contains("`link` token"),
        };
        assert!(expected, "README.md says {who} of {call}, which is for {access:?}");
    }
    assert!(listed.is_empty(), "README.md lists {listed:?}, which nobody answers");
}

/// The path of a page in `docs/` where `text` begins with one.
fn named_file<'a>(text: &'a str, kind: &str) -> Option<&'a str> {
    let end = text.find(|char: char| !char.is_ascii_alphanumeric() && !"/-_.".contains(char));
    let word = text[..end.unwrap_or(text.len())].trim_end_matches('.');
    let name = word.strip_prefix("docs/")?.strip_suffix(kind)?.strip_suffix('.')?;
    (!name.contains('/')).then_some(word)
}

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<_> =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "extension/README.md", "static/README.md"]
            .into_iter()
            .map(PathBuf::from)
            .collect();
    pages.extend(files_in(Path::new("docs")).into_iter().filter(|file| is(file, &["md"])));
    pages
}

/// What may name a page in a comment or a message.
fn texts() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in
        ["src", "tests", "simulator", "static", "examples", "scripts", "benches", "extension", "deploy"]
    {
        walk(Path::new(folder), &mut files);
    }
    files.extend(files_in(Path::new(".")));
    let kinds =
        ["rs", "js", "html", "sh", "py", "lua", "toml", "yaml", "json", "example", "service", "conf", "cfg"];
    files.retain(|file| is(file, &kinds) || file.extension().is_none());
    files
}

fn is(file: &Path, kinds: &[&str]) -> bool {
    file.extension().is_some_and(|extension| kinds.iter().any(|kind| extension == *kind))
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    files.extend(files_in(folder));
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("node_modules") && !path.ends_with("target") {
            walk(&path, files);
        }
    }
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}

/// What is not UTF-8, such as an icon, names nothing.
fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

/// The page without its blocks of code.
fn prose(page: &Path) -> String {
    let text = read(page);
    let blocks = text.split("```");
    blocks.step_by(2).collect()
}

/// Where the links of a text lead.
fn targets(text: &str) -> Vec<String> {
    // Links and pictures; a picture for dark screens has tags of its own.
    let between = |start, end: &'static str| {
        text.split(start).skip(1).filter_map(move |rest| Some(rest.split_once(end)?.0.to_owned()))
    };
    between("](", ")").chain(between(" src=\"", "\"")).chain(between(" srcset=\"", "\"")).collect()
}

fn headings(page: &Path) -> Vec<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| line.trim_start_matches('#').trim().to_owned()).collect()
}

/// A heading's anchor, as GitHub makes it.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.flat_map(char::to_lowercase).map(|char| if char == ' ' { '-' } else { char }).collect()
}
