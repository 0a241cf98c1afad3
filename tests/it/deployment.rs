//! The deployment files: what they copy, set, wait for and measure is what the code has.
//!
//! No container is built and no host is asked: the files are read as text, or as JSON. deployment/kubernetes.rs has Kubernetes.

mod kubernetes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use qrcast::config::SETTINGS;
use serde_json::Value;

const FLY: [&str; 2] = ["fly.toml", "deploy/fly.sqlite.toml"];
const METRICS_USED: [&str; 2] = ["docs/grafana-dashboard.json", "docs/alert-rules.yaml"];

#[test]
fn every_file_the_image_is_built_from_is_there_and_not_ignored() {
    // Everything is copied that is not ignored.
    let copies: Vec<_> = instructions().into_iter().filter(|line| line.starts_with("COPY ")).collect();
    assert!(copies.iter().all(|copy| copy == "COPY . ." || copy.contains("--from=")), "{copies:?}");
    let kept = kept();
    assert!(kept.contains(&PathBuf::from("Cargo.lock")), "{kept:?}");
    for source in &kept {
        assert!(source.exists(), "{} is copied and does not exist", source.display());
    }
    // cargo looks for the file of every target that a manifest names.
    for manifest in ["Cargo.toml", "simulator/Cargo.toml"] {
        let folder = Path::new(manifest).parent().unwrap();
        let text = read(manifest);
        let targets = text.split("\npath = \"").skip(1).map(|rest| rest.split('"').next().unwrap());
        for target in targets {
            let path = folder.join(target);
            assert!(kept.iter().any(|kept| path.starts_with(kept)), "{} is ignored", path.display());
        }
    }
}

#[test]
fn the_image_is_built_from_everything_the_program_includes() {
    let copied = kept();
    for file in rust_files(Path::new("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let included = ["include_str!(", "include_bytes!("].iter().flat_map(|name| text.split(name).skip(1));
        for rest in included {
            let Some(literal) = rest.split('"').nth(1) else { continue };
            let path = without_dots(&file.parent().unwrap().join(literal));
            // The documents' names are put together by a macro; src/http/docs/library.rs compares them.
            if path.as_os_str().is_empty() {
                continue;
            }
            assert!(
                copied.iter().any(|source| path.starts_with(source)),
                "{} includes {}, which no COPY brings",
                file.display(),
                path.display()
            );
        }
    }
    let build_script = Path::new("build.rs");
    assert!(!build_script.exists() || copied.iter().any(|source| source == build_script));
}

#[test]
fn the_image_is_an_ordinary_build() {
    let builds: Vec<_> = instructions()
        .into_iter()
        .filter(|instruction| {
            ["cargo build", "cargo chef cook"].iter().any(|build| instruction.contains(build))
        })
        .collect();
    assert_eq!(builds.len(), 2, "one for the dependencies, one for the program: {builds:#?}");
    for build in builds {
        for wrong in ["simulator", " -F", "--config", "RUSTFLAGS", "--release"] {
            assert!(!build.contains(wrong), "{wrong} in {build}");
        }
        assert!(
            build.contains(" --profile dist --locked --package qrcast --features otlp --bin qrcast"),
            "{build}"
        );
        assert_eq!(build.matches("--profile").count(), 1, "{build}");
    }
}

#[test]
fn the_image_runs_where_it_is_built_for() {
    let instructions = instructions();
    let of = |name: &str| -> Vec<&str> {
        instructions.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect()
    };
    // A program needs at least the glibc it was linked with: all stages are Debian 13.
    let mut from = of("FROM");
    from.retain(|image| !image.starts_with("chef "));
    assert!(from.len() == 2 && from[0].contains("trixie") && from[1].contains("debian13"), "{from:?}");
    assert!(minor_version(from[0], "rust:1.") >= minor_version(&read("Cargo.toml"), "rust-version = \"1."));
    // Exec form: with a shell before it, qrcast would not get the signal, and there is no shell.
    assert_eq!(of("ENTRYPOINT"), [r#"["/usr/local/bin/qrcast"]"#]);
    let checks = of("HEALTHCHECK").into_iter().map(|check| check.split("CMD ").last().unwrap());
    assert_eq!(checks.collect::<Vec<_>>(), [r#"["/usr/local/bin/qrcast", "health"]"#]);
    assert_eq!(
        (of("USER"), of("STOPSIGNAL"), of("EXPOSE")),
        (vec!["65532:65532"], vec!["SIGTERM"], vec!["3000"])
    );
    // Railway refuses both.
    assert!(of("VOLUME").is_empty());
    assert!(instructions.iter().all(|line| !line.contains("--mount=type=cache")));
}

#[test]
fn every_host_waits_until_the_server_has_stopped() {
    let needed = default_of("READY_DELAY_MS") / 1000 + default_of("DRAIN_SECONDS") + 5;
    for fly in FLY {
        let waits = numbers_after(&read(fly), "kill_timeout = ");
        assert!(waits.len() == 1 && waits[0] > needed && waits[0] <= 300, "{fly}: {waits:?}");
    }
    for (file, setting) in [
        ("deploy/compose.yaml", "stop_grace_period: "),
        ("deploy/qrcast.service", "TimeoutStopSec="),
        ("railway.json", "\"drainingSeconds\": "),
    ] {
        let waits = numbers_after(&read(file), setting);
        assert!(!waits.is_empty() && waits.iter().all(|&wait| wait > needed), "{file}: {waits:?}");
    }
    // Else the sum above would be another.
    let set: BTreeSet<_> = variables_set().into_iter().map(|(_, name)| name).collect();
    assert!(!set.contains("READY_DELAY_MS") && !set.contains("DRAIN_SECONDS"));
}

#[test]
fn fly_never_stops_a_machine_and_routes_by_readiness() {
    for fly in FLY {
        let text = read(fly);
        for line in [
            "kill_signal = \"SIGTERM\"",
            "auto_stop_machines = \"off\"",
            "path = \"/readyz\"",
            "internal_port = 3000",
            "type = \"connections\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{fly} lacks {line}");
        }
        // Any replica serves any session: nothing has to be replayed elsewhere.
        assert!(!text.contains("fly-replay"), "{fly}");
        // What is scraped is where the metrics are.
        assert!(text.contains("METRICS_PORT = \"9091\"") && text.contains("\nport = 9091\n"), "{fly}");
        // Below it the proxy refuses before the server can say when to come back.
        assert!(numbers_after(&text, "hard_limit = ")[0] > default_of("MAX_STREAMS"), "{fly}");
    }
    let count = |fly| numbers_after(&read(fly), "min_machines_running = ");
    assert_eq!((count(FLY[0]), count(FLY[1])), (vec![2], vec![1]));
}

#[test]
fn the_json_files_say_what_they_should() {
    let railway: Value = serde_json::from_str(&read("railway.json")).unwrap();
    assert_eq!(railway["build"]["builder"], "DOCKERFILE");
    assert_eq!(railway["deploy"]["healthcheckPath"], "/readyz");
    // Texts in quotes, as its own reference shows them, are refused (github.com/railwayapp/docs/issues/1243).
    assert!(railway["deploy"]["drainingSeconds"].is_u64() && railway["deploy"]["overlapSeconds"].is_u64());

    let dashboard: Value = serde_json::from_str(&read("docs/grafana-dashboard.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|variable| variable["type"] == "datasource"), "one's own Prometheus");
    for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
    }
}

#[test]
fn the_dashboard_and_the_alerts_use_only_metrics_there_are() {
    let documented = documented_metrics();
    for file in METRICS_USED {
        let text = read(file);
        let used: BTreeSet<_> = text
            .split(|char: char| !char.is_ascii_alphanumeric() && char != '_')
            .filter(|word| word.starts_with("qrcast_") || word.starts_with("process_"))
            .collect();
        assert!(used.len() > 5, "{file}: {used:?}");
        for name in used {
            let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let known = documented.contains_key(name)
                || histogram.and_then(|name| documented.get(name)).is_some_and(|kind| kind == "histogram");
            assert!(known, "{file} uses {name}, which docs/metrics.md does not have");
        }
    }
}

#[test]
fn every_alert_of_the_server_is_a_rule_and_the_other_way_round() {
    let operating = read("docs/metrics.md");
    let row = operating.lines().find(|line| line.starts_with("| `qrcast_alert`")).unwrap();
    let names: BTreeSet<_> = in_backticks(row.split('|').nth(3).unwrap()).skip(1).collect();
    let rules = read("docs/alert-rules.yaml");
    let ruled: BTreeSet<_> =
        rules.split("qrcast_alert{name=\"").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect();
    assert_eq!(ruled, names);
}

#[test]
fn every_variable_the_files_set_is_a_setting() {
    let mut set = variables_set();
    set.extend(kubernetes::variables());
    assert!(set.len() > 10, "{set:?}");
    for (file, name) in set {
        assert!(
            SETTINGS.iter().any(|setting| setting.name == name),
            "{file} sets {name}, which nothing reads"
        );
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The Dockerfile, one instruction a line, without comments.
fn instructions() -> Vec<String> {
    let dockerfile = read("Dockerfile");
    let lines: Vec<_> = dockerfile.lines().filter(|line| !line.starts_with('#')).collect();
    let whole = lines.join("\n").replace("\\\n", "");
    whole.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// What the Dockerfile takes from the repository.
fn kept() -> Vec<PathBuf> {
    read(".dockerignore").lines().filter_map(|line| line.strip_prefix('!')).map(PathBuf::from).collect()
}

fn files_in(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| path.to_str().unwrap().to_owned()).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// `src/http/../../static` as `static`.
fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

fn minor_version(text: &str, before: &str) -> u64 {
    numbers_after(text, before)[0]
}

/// Every number that follows `before` in `text`.
fn numbers_after(text: &str, before: &str) -> Vec<u64> {
    text.split(before)
        .skip(1)
        .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap())
        .collect()
}

fn default_of(name: &str) -> u64 {
    let setting = SETTINGS.iter().find(|setting| setting.name == name).unwrap();
    setting.default.parse().unwrap()
}

/// The table of metrics: name and type.
fn documented_metrics() -> BTreeMap<String, String> {
    let operating = read("docs/metrics.md");
    let mut metrics = BTreeMap::new();
    let rows =
        operating.lines().filter(|line| line.starts_with("| `qrcast_") || line.starts_with("| `process_"));
    for row in rows {
        let mut cells = row.split('|').skip(1);
        let (names, kind) = (cells.next().unwrap(), cells.next().unwrap().trim());
        metrics.extend(in_backticks(names).map(|name| (name.to_owned(), kind.to_owned())));
    }
    metrics
}

fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Every variable that a deployment file sets, and which file; Kubernetes has its own.
fn variables_set() -> Vec<(&'static str, String)> {
    let mut set = Vec::new();
    let mut add = |file, name: &str| set.push((file, name.trim().to_owned()));
    for environment in instructions().iter().filter_map(|line| line.strip_prefix("ENV ")) {
        environment.split_whitespace().for_each(|word| add("Dockerfile", before(word, '=')));
    }
    for fly in FLY {
        let text = read(fly);
        let section = text.split("\n[env]\n").nth(1).unwrap().split("\n[").next().unwrap();
        section.lines().filter(|line| line.contains(" = ")).for_each(|line| add(fly, before(line, '=')));
    }
    for environment in read("deploy/compose.yaml").split("    environment:\n").skip(1) {
        let block = environment.lines().take_while(|line| line.starts_with("      "));
        block
            .filter(|line| !line.trim().starts_with('#'))
            .for_each(|line| add("deploy/compose.yaml", before(line, ':')));
    }
    for environment in
        read("deploy/qrcast.service").lines().filter_map(|line| line.strip_prefix("Environment="))
    {
        environment.split_whitespace().for_each(|word| add("deploy/qrcast.service", before(word, '=')));
    }
    set
}

fn before(text: &str, sign: char) -> &str {
    text.split(sign).next().unwrap()
}
