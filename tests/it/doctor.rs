//! `qrcast doctor`: what it says of a machine that can do the job and of ones that cannot, and that it leaves no trace.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::SystemTime;

use serde_json::Value;
use tokio::process::Command;

use crate::support::proxy::free_port;
use crate::support::redis::{Redis, RedisCluster};
use crate::support::replicas::is_ready;
use crate::support::way_out::{Kind, WayOut, secrets};
use crate::support::{Server, soon, whatsapp};

/// In this order, on SQLite and on Redis.
const ALONE: [&str; 11] = [
    "config",
    "environment",
    "name",
    "proxy",
    "whatsapp",
    "version",
    "media",
    "redis",
    "clock",
    "data",
    "descriptors",
];
const SHARED: [&str; 13] = [
    "config",
    "environment",
    "name",
    "proxy",
    "whatsapp",
    "version",
    "media",
    "redis",
    "persistence",
    "eviction",
    "clock",
    "data",
    "descriptors",
];

async fn qrcast(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qrcast"));
    command.args(arguments).env_clear().envs(variables.iter().copied());
    soon("the doctor", command.kill_on_drop(true).output()).await.unwrap()
}

/// What one run said, as text and as JSON.
struct Report {
    text: String,
    json: Value,
    failures: i32,
}

impl Report {
    /// Runs it both ways; both must say the same.
    async fn of(variables: &[(&str, &str)]) -> Self {
        let (text, json) =
            tokio::join!(qrcast(&["doctor"], variables), qrcast(&["doctor", "--json"], variables));
        assert!(text.stderr.is_empty() && json.stderr.is_empty(), "{text:?} {json:?}");
        let failures = text.status.code().unwrap();
        assert_eq!(json.status.code(), Some(failures));
        let text = String::from_utf8(text.stdout).unwrap();
        let json: Value = serde_json::from_slice(&json.stdout).unwrap();
        let report = Self { text, json, failures };
        report.is_consistent();
        report
    }

    fn is_consistent(&self) {
        let lines: Vec<_> = self.text.lines().collect();
        let checks = self.json["checks"].as_array().unwrap();
        assert_eq!(lines.len(), checks.len() + 1, "{}", self.text);
        for (line, check) in lines.iter().zip(checks) {
            let words: Vec<_> = line.split_whitespace().take(2).collect();
            assert_eq!(words, [check["result"].as_str().unwrap(), check["name"].as_str().unwrap()]);
            assert_eq!(
                line.contains("; "),
                check["said"].as_str().unwrap().contains("; ") || !check["todo"].is_null()
            );
        }
        let failed = self.named("fail").len();
        assert_eq!(failed, usize::try_from(self.failures).unwrap(), "{}", self.text);
        assert_eq!(self.json["ok"], failed == 0);
    }

    fn names(&self) -> Vec<&str> {
        self.json["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect()
    }

    /// The names of those that came out so.
    fn named(&self, result: &str) -> Vec<&str> {
        let checks = self.json["checks"].as_array().unwrap().iter();
        checks
            .filter(|check| check["result"] == result)
            .map(|check| check["name"].as_str().unwrap())
            .collect()
    }

    /// What was said of one, and what is to be done; it must have come out so.
    fn said(&self, name: &str, result: &str) -> String {
        let checks = self.json["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name && check["result"] == result);
        let check = check.unwrap_or_else(|| panic!("no {result} {name} in {}", self.text));
        format!("{}; {}", check["said"].as_str().unwrap(), check["todo"].as_str().unwrap_or_default())
    }
}

/// All there is in a folder: names, lengths, times.
fn content(folder: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let entry = |path: &Path| {
        let seen = std::fs::metadata(path).unwrap();
        (path.to_owned(), seen.len(), seen.modified().unwrap())
    };
    let below = std::fs::read_dir(folder).unwrap().map(|found| found.unwrap().path());
    let mut content: Vec<_> = below.map(|path| entry(&path)).collect();
    content.push(entry(folder));
    content.sort();
    content
}

fn variables<'a>(url: &'a str, folder: &'a Path) -> Vec<(&'a str, &'a str)> {
    vec![("WHATSAPP_URL", url), ("DATA_DIR", folder.to_str().unwrap())]
}

#[tokio::test]
async fn a_machine_that_can_do_the_job_is_told_so_and_left_as_it_was() {
    let (whatsapp, folder) = (whatsapp().await, tempfile::tempdir().unwrap());
    let url = whatsapp.url();
    let missing = folder.path().join("not/yet");
    for data_dir in [folder.path(), &missing] {
        let before = content(folder.path());
        let report = Report::of(&variables(&url, data_dir)).await;
        assert_eq!((report.failures, report.names()), (0, ALONE.to_vec()), "{}", report.text);
        assert!(report.said("clock", "ok").contains("agrees with WhatsApp"), "{}", report.text);
        assert_eq!(content(folder.path()), before);
    }
    let seen = whatsapp.state();
    assert!(seen.devices.is_empty(), "{:?}", seen.devices);
}

#[tokio::test]
async fn a_redis_is_looked_at_and_left_as_it_was() {
    let (whatsapp, redis, folder) = (whatsapp().await, Redis::start().await, tempfile::tempdir().unwrap());
    redis.tell::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let (url, address) = (whatsapp.url(), redis.url());
    let mut variables = variables(&url, folder.path());
    variables.push(("REDIS_URL", &address));
    let report = Report::of(&variables).await;
    assert_eq!((report.failures, report.names()), (0, SHARED.to_vec()), "{}", report.text);
    assert!(
        report.said("clock", "ok").contains("agrees with WhatsApp, agrees with Redis"),
        "{}",
        report.text
    );
    assert!(report.said("redis", "ok").contains("answers: "), "{}", report.text);
    report.said("persistence", "ok");
    report.said("eviction", "ok");
    assert!(report.said("data", "ok").contains("not used"), "{}", report.text);
    assert!(redis.keys().await.is_empty());

    redis.tell::<()>(&["CONFIG", "SET", "appendonly", "no"]).await;
    redis.tell::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let report = Report::of(&variables).await;
    assert_eq!(report.failures, 0, "{}", report.text);
    assert!(report.said("persistence", "warn").contains("appendonly yes"), "{}", report.text);
    assert!(report.said("eviction", "warn").contains("allkeys-lru"), "{}", report.text);
}

#[tokio::test]
async fn each_node_of_a_cluster_is_looked_at() {
    let (whatsapp, cluster) = (whatsapp().await, RedisCluster::start().await);
    let folder = tempfile::tempdir().unwrap();
    cluster.nodes()[2].tell::<()>(&["CONFIG", "SET", "appendonly", "no"]).await;
    let (url, address) = (whatsapp.url(), cluster.url());
    let mut variables = variables(&url, folder.path());
    variables.push(("REDIS_URL", &address));
    let report = Report::of(&variables).await;
    assert!(report.said("redis", "ok").contains("a cluster of 3 nodes"), "{}", report.text);
    report.said("persistence", "warn");
}

#[tokio::test]
async fn a_redis_that_cannot_be_used_is_a_failure_without_its_password() {
    let (whatsapp, redis, folder) = (whatsapp().await, Redis::start().await, tempfile::tempdir().unwrap());
    redis.tell::<()>(&["ACL", "SETUSER", "ada", "on", ">right", "~*", "&*", "+@all"]).await;
    let url = whatsapp.url();
    let refused = redis.url().replace("://", "://ada:hunter2@");
    let away = format!("redis://ada:hunter2@127.0.0.1:{}", free_port());
    for (address, words) in [(&refused, "refuses the user or the password"), (&away, "refused")] {
        let mut variables = variables(&url, folder.path());
        variables.push(("REDIS_URL", address));
        let report = Report::of(&variables).await;
        assert_eq!(report.named("fail"), ["redis"], "{}", report.text);
        assert!(report.said("redis", "fail").contains(words), "{}", report.text);
        assert!(!report.text.contains("hunter2") && !report.json.to_string().contains("hunter2"));
    }
}

#[tokio::test]
async fn each_failure_is_named_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let url = format!("ws://127.0.0.1:{port}/ws/chat");
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let mut variables = variables(&url, &file);
    variables.push(("https_proxy", "http://ada:hunter2@127.0.0.1:1"));
    let report = Report::of(&variables).await;
    let failed = report.named("fail");
    // How much the look-up matters depends on the age of the version that is built in.
    for name in ["whatsapp", "media", "data"] {
        assert!(failed.contains(&name), "{}", report.text);
    }
    assert!(!report.named("ok").contains(&"version"), "{}", report.text);
    let said = report.said("whatsapp", "fail");
    assert!(said.contains(&format!("cannot connect to 127.0.0.1:{port}")), "{said}");
    assert!(
        said.contains(": Connection refused") && said.contains("WA_PROXY (https_proxy is ignored)"),
        "{said}"
    );
    assert!(report.said("data", "fail").contains("is not a folder"), "{}", report.text);
    report.said("clock", "warn");
    assert!(!report.text.contains("hunter2"));
}

#[tokio::test]
async fn a_folder_in_use_is_a_warning_and_its_server_goes_on() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).start().await;
    is_ready(&server).await;
    let (url, builder) = (whatsapp.url(), server.builder_again());
    let report = Report::of(&variables(&url, builder.folder())).await;
    assert_eq!(report.failures, 0, "{}", report.text);
    assert!(report.said("data", "warn").contains("a server is running on"), "{}", report.text);
    // It is still its own, and still works.
    server.init("ada").await.link(&whatsapp).await;
}

#[tokio::test]
async fn misspelt_variables_are_named_without_their_values() {
    let (whatsapp, folder) = (whatsapp().await, tempfile::tempdir().unwrap());
    let url = whatsapp.url();
    let mut variables = variables(&url, folder.path());
    variables.extend([
        ("MAX_STRAMS", "hunter2"),
        ("API_KEY", "web:hunter2"),
        ("REDIS_URI", "redis://hunter2"),
    ]);
    let report = Report::of(&variables).await;
    assert_eq!(report.failures, 0, "{}", report.text);
    for (wrong, right) in [("MAX_STRAMS", "MAX_STREAMS"), ("API_KEY", "API_KEYS"), ("REDIS_URI", "REDIS_URL")]
    {
        let line = format!("{wrong} is set and not read; {right} may be meant");
        assert!(report.text.contains(&line), "{}", report.text);
    }
    assert!(!report.text.contains("hunter2") && !report.json.to_string().contains("hunter2"));
}

#[tokio::test]
async fn mistakes_in_the_configuration_are_failures_and_end_it() {
    let report =
        Report::of(&[("PORT", "x"), ("WA_PROXY", "carrier-pigeon://hunter2"), ("API_KEY", "x")]).await;
    assert_eq!(report.names(), ["config", "config", "environment"], "{}", report.text);
    assert_eq!(report.failures, 2);
    assert!(report.text.contains("PORT: \"x\" is not allowed; a whole number"), "{}", report.text);
    assert!(report.text.contains("WA_PROXY: \"***\""), "{}", report.text);
}

#[tokio::test]
async fn a_proxy_is_tried_and_one_that_refuses_is_the_one_to_blame() {
    for kind in [Kind::Http, Kind::Socks5] {
        let (whatsapp, mut proxy) = (whatsapp().await, WayOut::start(kind).await);
        let folder = tempfile::tempdir().unwrap();
        let (url, address) = (whatsapp.url(), proxy.url());
        let mut variables = variables(&url, folder.path());
        variables.push(("WA_PROXY", &address));
        let report = Report::of(&variables).await;
        assert_eq!(report.failures, 0, "{}", report.text);
        assert!(report.said("proxy", "ok").contains("user and password were taken"), "{}", report.text);

        proxy.strict(true);
        let report = Report::of(&variables).await;
        let said = report.said("proxy", "fail");
        assert!(
            said.contains(&format!("the proxy 127.0.0.1:{} refused the user name", proxy.port)),
            "{said}"
        );
        for name in ["whatsapp", "media"] {
            report.said(name, "fail");
        }
        proxy.die().await;
        assert!(Report::of(&variables).await.said("proxy", "fail").contains("cannot be reached"));
        for secret in secrets() {
            assert!(!report.text.contains(&secret), "{}", report.text);
        }
        // What the proxy cannot reach is not the proxy's fault.
        proxy.revive().await;
        proxy.strict(false);
        whatsapp.shutdown().await;
        let report = Report::of(&variables).await;
        report.said("proxy", "ok");
        assert!(report.said("whatsapp", "fail").contains("does not connect to"), "{}", report.text);
    }
}
