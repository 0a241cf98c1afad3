//! Who may import whom: the layers of the house, read from its own `use` lines.

mod simulator;

use std::collections::{BTreeMap, BTreeSet};
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
    ("receiver", &[]),
    ("wire", &[]),
    ("config", &["platform", "proxy", "receiver"]),
    ("telemetry", &["config"]),
    ("storage", &["backoff", "clock", "id", "shutdown", "telemetry"]),
    (
        "whatsapp",
        &["backoff", "event", "id", "platform", "proxy", "shutdown", "storage", "telemetry", "wire"],
    ),
    ("log", &["event", "id", "shutdown", "storage", "telemetry"]),
    ("records", &["event", "id", "proxy", "receiver", "shutdown", "storage", "telemetry"]),
    (
        "webhooks",
        &[
            "backoff",
            "config",
            "event",
            "id",
            "log",
            "receiver",
            "records",
            "shutdown",
            "storage",
            "telemetry",
            "wire",
        ],
    ),
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
            "receiver",
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
            "webhooks",
            "whatsapp",
        ],
    ),
    // The same: it reads what a server reads, and runs none of it.
    ("check_store", &["cluster", "log", "config", "event", "id", "records", "server", "storage", "whatsapp"]),
    // The same: it copies what a server stands on.
    ("backup", &["check_store", "config", "server", "storage"]),
    // Stands beside `server` too: it asks what a server would stand on, and runs none of it.
    ("doctor", &["config", "server", "storage", "whatsapp"]),
    // Asks a server from outside: of this crate it uses how to connect and what a QR looks like, and `main` alone calls it.
    ("client", &["backoff", "config", "qr", "wire"]),
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
            "receiver",
            "registry",
            "session",
            "shutdown",
            "stream",
            "telemetry",
            "webhooks",
        ],
    ),
];

/// The rooms of `http`, from the ground up: each may use itself and those before it.
const ROOMS: &[&str] = &[
    "error", "door", "describe", "app", "guard", "pages", "docs", "api", "stream", "ops", "openapi",
    "asyncapi", "serve", "http",
];

#[test]
fn in_http_nothing_runs_up() {
    let imports = imports_within("http");
    let height = |module: &str| {
        let room = module.split("::").nth(1).unwrap_or("http");
        let at = ROOMS.iter().position(|known| *known == room);
        at.unwrap_or_else(|| panic!("{room} is in no order"))
    };
    for (module, used) in &imports {
        for used in used {
            assert!(height(used) <= height(module), "{module} uses {used}, which stands above it");
        }
    }
}

#[test]
fn no_two_files_of_a_room_use_each_other() {
    for room in ["http", "webhooks", "link", "ownership", "registry", "session", "cluster", "client"] {
        assert_no_circle(imports_within(room));
    }
}

fn assert_no_circle(mut left: BTreeMap<String, BTreeSet<String>>) {
    // What uses nothing that is left is in no circle, and neither is what nothing uses.
    while !left.is_empty() {
        let before = left.len();
        let modules: BTreeSet<_> = left.keys().cloned().collect();
        left.values_mut().for_each(|used| used.retain(|used| modules.contains(used)));
        left.retain(|_, used| !used.is_empty());
        let used: BTreeSet<_> = left.values().flatten().cloned().collect();
        left.retain(|module, _| used.contains(module));
        assert!(left.len() < before, "these use each other: {left:#?}");
    }
}

/// A function is read on one screen.
#[test]
fn no_function_is_longer_than_fifty_lines() {
    let (mut files, mut long, mut seen) = (Vec::new(), Vec::new(), 0);
    walk(Path::new("src"), &mut files);
    files.retain(|file| file.components().all(|part| part.as_os_str() != "tests"));
    for file in files.iter().filter(|file| file.extension().is_some_and(|ext| ext == "rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        let code: Vec<_> = text.split("#[cfg(test)]\nmod tests").next().unwrap().lines().collect();
        for (begin, line) in code.iter().enumerate() {
            let indent = &line[..line.len() - line.trim_start().len()];
            if !begins_function(line) || line.ends_with('}') {
                continue;
            }
            // A declaration without a body ends in a semicolon before any closing brace.
            let rest = &code[begin..];
            let closing = format!("{indent}}}");
            let Some(end) = rest.iter().position(|line| *line == closing) else { continue };
            let body = rest[..end].iter().position(|line| line.ends_with('{'));
            let declared = rest[..end].iter().position(|line| line.ends_with(';'));
            if declared.is_some_and(|declared| body.is_none_or(|body| declared < body)) {
                continue;
            }
            seen += 1;
            if end + 1 > 50 {
                long.push(format!("{}:{}: {} lines", file.display(), begin + 1, end + 1));
            }
        }
    }
    assert!(seen > 500, "{seen}");
    assert!(long.is_empty(), "{long:#?}");
}

fn begins_function(line: &str) -> bool {
    let mut words = line
        .trim_start()
        .split(' ')
        .skip_while(|word| word.starts_with("pub") || ["const", "async"].contains(word));
    words.next() == Some("fn")
}

/// What each file of a room uses of the others.
fn imports_within(room: &str) -> BTreeMap<String, BTreeSet<String>> {
    let files = files_of(room);
    files.iter().map(|file| (module_of(file), imports_of(room, file, &files))).collect()
}

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

/// `src/http/door/limits.rs` as `http::door::limits`, and `simulator/src/state/view.rs` as `state::view`.
fn module_of(file: &Path) -> String {
    let path = file.strip_prefix("simulator").unwrap_or(file).strip_prefix("src").unwrap().with_extension("");
    path.components().map(|part| part.as_os_str().to_str().unwrap()).collect::<Vec<_>>().join("::")
}

/// The other files of its room that this file uses, outside its tests. To declare a module is not to use it.
fn imports_of(room: &str, file: &Path, files: &[PathBuf]) -> BTreeSet<String> {
    let code = code_of(file);
    let (own, known): (_, BTreeSet<_>) =
        (module_of(file), files.iter().map(|file| module_of(file)).collect());
    let above = own.rsplit_once("::").map_or("", |(above, _)| above);
    let mut used = BTreeSet::new();
    let crate_path = format!("crate::{room}::");
    for (start, base) in [(crate_path.as_str(), room), ("super::", above), ("self::", own.as_str())] {
        if base.is_empty() {
            continue;
        }
        for rest in code.split(start).skip(1) {
            used.extend(paths(rest).iter().map(|path| longest_known(&format!("{base}::{path}"), &known)));
        }
    }
    used.remove(&own);
    used
}

/// What a file says outside comments and its tests, on one line.
fn code_of(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join(" ")
}

/// The paths at the beginning of a text: `a::{b, c::D}; …` is `a::b` and `a::c::D`.
fn paths(text: &str) -> Vec<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
    let (path, rest) = text.split_at(end);
    let Some(group) = rest.strip_prefix('{').filter(|_| path.is_empty() || path.ends_with("::")) else {
        return vec![path.to_owned()];
    };
    let (mut deep, mut parts) = (0, vec![String::new()]);
    for char in group.chars() {
        match char {
            '}' if deep == 0 => break,
            ',' if deep == 0 => parts.push(String::new()),
            _ => {
                deep += i32::from(char == '{') - i32::from(char == '}');
                parts.last_mut().unwrap().push(char);
            }
        }
    }
    parts.iter().flat_map(|part| paths(part.trim())).map(|part| format!("{path}{part}")).collect()
}

/// The module of which this path names something.
fn longest_known(path: &str, known: &BTreeSet<String>) -> String {
    let mut path = path.trim_end_matches(':');
    while !known.contains(path) {
        path = path.rsplit_once("::").unwrap_or_else(|| panic!("{path} leads out of its room")).0;
    }
    path.to_owned()
}

/// The modules in `crate::module` anywhere outside comments.
fn used_by(file: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect())
        .collect()
}
