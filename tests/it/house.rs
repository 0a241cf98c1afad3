//! Who may import whom: the layers of the house, read from its own `use` lines.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A module, and what of this crate it may use beside itself.
const RULES: &[(&str, &[&str])] = &[
    ("id", &[]),
    ("clock", &[]),
    ("backoff", &[]),
    ("shutdown", &[]),
    ("qr", &["telemetry"]),
    ("event", &["clock", "id", "qr"]),
    ("proxy", &[]),
    ("platform", &[]),
    ("config", &["platform", "proxy"]),
    ("telemetry", &["config"]),
    ("storage", &["backoff", "clock", "id", "shutdown", "telemetry"]),
    ("whatsapp", &["backoff", "event", "id", "platform", "proxy", "shutdown", "storage", "telemetry"]),
    ("log", &["event", "id", "shutdown", "storage", "telemetry"]),
    ("records", &["event", "id", "proxy", "shutdown", "storage", "telemetry"]),
    ("cluster", &["event", "id", "records", "shutdown", "storage"]),
    ("session", &["event", "id", "log", "records", "whatsapp"]),
    (
        "link",
        &[
            "cluster",
            "event",
            "id",
            "log",
            "proxy",
            "records",
            "session",
            "shutdown",
            "telemetry",
            "whatsapp",
        ],
    ),
    (
        "registry",
        &[
            "cluster",
            "event",
            "id",
            "link",
            "log",
            "proxy",
            "records",
            "session",
            "shutdown",
            "telemetry",
            "whatsapp",
        ],
    ),
    (
        "ownership",
        &["cluster", "event", "id", "link", "records", "registry", "session", "shutdown", "telemetry"],
    ),
    ("close", &[]),
    ("stream", &["close", "event", "session", "shutdown", "telemetry"]),
    // Stands beside `server`: it names stores, and nothing that runs sessions or talks to browsers.
    (
        "migrate",
        &[
            "cluster",
            "log",
            "check_store",
            "config",
            "event",
            "id",
            "records",
            "server",
            "storage",
            "whatsapp",
        ],
    ),
    // The same: it reads what a server reads, and runs none of it.
    ("check_store", &["cluster", "log", "config", "event", "id", "records", "server", "storage", "whatsapp"]),
    // Stands beside `server` too: it asks what a server would stand on, and runs none of it.
    ("doctor", &["config", "server", "storage", "whatsapp"]),
    (
        "http",
        &[
            "clock",
            "close",
            "config",
            "event",
            "id",
            "proxy",
            "qr",
            "registry",
            "session",
            "shutdown",
            "stream",
            "telemetry",
        ],
    ),
];

#[test]
fn every_module_keeps_to_its_neighbours() {
    let mut broken = Vec::new();
    for (module, allowed) in RULES {
        for file in files_of(module) {
            for used in used_by(&file) {
                if used != *module && !allowed.contains(&used.as_str()) {
                    broken.push(format!("{} uses crate::{used}", file.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_module_has_a_rule() {
    let known: BTreeSet<_> = RULES.iter().map(|(module, _)| (*module).to_owned()).collect();
    let map = std::fs::read_to_string("src/lib.rs").unwrap();
    let modules = map
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    for module in modules.filter(|module| !["server", "memory"].contains(module)) {
        assert!(known.contains(module), "no rule for {module}");
    }
}

#[test]
fn only_one_file_starts_the_librarys_client() {
    let naming: Vec<_> = files_of("whatsapp")
        .into_iter()
        .filter(|file| std::fs::read_to_string(file).unwrap().contains("Bot::builder"))
        .collect();
    assert_eq!(naming, [PathBuf::from("src/whatsapp/client.rs")]);
}

/// The documents say which test plays what: each that they name is there.
#[test]
fn every_test_that_a_document_names_is_there() {
    let mut files = Vec::new();
    walk(Path::new("tests/it"), &mut files);
    walk(Path::new("src"), &mut files);
    let code: Vec<_> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let mut named = 0;
    for document in ["docs/operating.md", "docs/metrics.md", "docs/security.md"] {
        let text = std::fs::read_to_string(document).unwrap();
        for word in text.split('`').skip(1).step_by(2) {
            let Some((_, test)) = word.rsplit_once("::") else { continue };
            if test.contains('_') && test.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                named += 1;
                let there = code.iter().any(|code| code.contains(&format!("fn {test}(")));
                assert!(there || test.starts_with('_'), "{document} names {word}");
            }
        }
    }
    assert!(named > 30, "{named}");
}

/// A newcomer who reads that something stands in a file finds it there.
#[test]
fn every_source_file_that_a_document_names_is_there() {
    let mut named = 0;
    for document in ["docs/architecture.md", "docs/glossary.md", "docs/decisions.md"] {
        let text = std::fs::read_to_string(document).unwrap();
        for file in text.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".rs")) {
            named += 1;
            let there = ["src", ".", "tests/it", "simulator/src"]
                .iter()
                .any(|root| Path::new(root).join(file).exists());
            assert!(there, "{document} names {file}");
        }
    }
    assert!(named > 50, "{named}");
}

fn files_of(module: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let file = PathBuf::from(format!("src/{module}.rs"));
    if file.exists() {
        files.push(file);
    }
    walk(&PathBuf::from(format!("src/{module}")), &mut files);
    // A module's tests may use whatever they need.
    files.retain(|file| file.components().all(|part| part.as_os_str() != "tests"));
    files
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.file_name().is_some_and(|name| name != "tests.rs") && !is_twin(&path) {
            files.push(path);
        }
    }
}

/// The stand-ins that tests run sessions on: no part of the server.
fn is_twin(path: &Path) -> bool {
    path.starts_with("src/memory") || path == Path::new("src/memory.rs")
}

/// The modules in `crate::module` anywhere outside comments.
fn used_by(file: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect())
        .collect()
}
