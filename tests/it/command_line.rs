//! The commands that ask a running server: `sessions`, `link`, `logout`, `events`; and what completes and describes them.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use simulator::{EnterCode, Scan, Simulator};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::browser::reads_qr;
use crate::support::proxy::free_port;
use crate::support::terminal::Terminal;
use crate::support::{Server, is_installed, soon, whatsapp, world};

const LARGE: (u16, u16) = (40, 120);
const SMALL: (u16, u16) = (24, 80);

/// What a command said, and how it ended.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn qrcast(arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = command(arguments, variables);
    let output = soon("the command", command.stdin(Stdio::null()).output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let said = Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
    // Into a pipe nothing is written that only a terminal obeys.
    assert!(!said.out.contains('\x1b') && !said.err.contains('\x1b'), "{} {}", said.out, said.err);
    said
}

fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qrcast"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).kill_on_drop(true);
    command
}

/// A command that goes on.
struct Running {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut process =
            command(arguments, variables).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// The next line with these words, and all before it.
    async fn reads(&mut self, words: &str) -> Vec<String> {
        let mut read = Vec::new();
        soon(words, async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect(words);
                assert!(!line.contains('\x1b'), "{line}");
                read.push(line);
                if read.last().unwrap().contains(words) {
                    return read;
                }
            }
        })
        .await
    }

    /// Makes sessions until the feed tells of one: it has no replay, and may not be open yet.
    async fn hears_of(&mut self, server: &Server, user: &str) -> Vec<String> {
        let mut read: Vec<String> = Vec::new();
        soon("the feed", async {
            for attempt in 0.. {
                server.init(&format!("{user}{attempt}")).await;
                while let Ok(line) = timeout(Duration::from_secs(1), self.lines.next_line()).await {
                    read.push(line.unwrap().expect("a feed"));
                }
                if read.iter().any(|line| line.contains("  qr  ")) {
                    break;
                }
            }
        })
        .await;
        read
    }

    async fn ends(&mut self) -> Option<i32> {
        soon("the end", self.process.wait()).await.unwrap().code()
    }
}

fn port(server: &Server) -> String {
    server.base.rsplit(':').next().unwrap().to_owned()
}

/// The id of the only session.
async fn session(server: &Server) -> String {
    let list: Value = server.get("/api/sessions").await.json().await.unwrap();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1, "{list}");
    list["sessions"][0]["sessionId"].as_str().unwrap().to_owned()
}

async fn scan(whatsapp: &Simulator, qr: String) {
    let scan = Scan { qr, push_name: Some("Ada".into()), ..Scan::default() };
    soon("a scan", whatsapp.scan(scan)).await.unwrap();
}

#[tokio::test]
async fn a_phone_scans_the_terminal() {
    let (whatsapp, server) = world().await;
    let port = port(&server);
    let variables = [("PORT", port.as_str())];
    let mut terminal = Terminal::start(LARGE, &["link", "--user-id", "ada"], &variables);
    let first = terminal.shows_qr("").await;
    let said = terminal.shows(" s left").await;
    assert!(said.contains("Linked devices") && said.contains("QR 1 of 6, "), "{said}");
    assert!(terminal.look(|screen| screen.alternate_screen() && screen.hide_cursor()));
    // The next one takes its place.
    let session = session(&server).await;
    assert!(session.starts_with("session_ada_"), "{session}");
    server.session(&session).restart().await;
    let second = terminal.shows_qr(&first).await;
    scan(&whatsapp, second).await;
    let (code, said) = terminal.ends().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Do not close WhatsApp on the phone"), "{said}");
    assert!(said.contains("Linked: +") && said.contains(&format!("as session {session}")), "{said}");
    // Once it is linked there is nothing to show.
    let mut terminal = Terminal::start(LARGE, &["link", "--session", &session], &variables);
    let (code, said) = terminal.ends().await;
    assert_eq!(code, Some(0), "{said}");
    // A person is asked before it is logged out.
    for (answer, code, words) in [("n\r", 1, "nothing was done"), ("y\r", 0, "logged out session_ada_")] {
        let mut terminal = Terminal::start(LARGE, &["logout", &session], &variables);
        terminal.shows("[y/N]").await;
        terminal.types(answer);
        terminal.shows(words).await;
        assert_eq!(terminal.ends().await.0, Some(code));
    }
    server.session(&session).reaches("disconnected").await;
}

#[tokio::test]
async fn a_terminal_that_is_too_small_says_how_large_and_what_else() {
    let (_whatsapp, server) = world().await;
    let port = port(&server);
    let mut terminal = Terminal::start(SMALL, &["link"], &[("PORT", &port)]);
    let said = terminal.shows("--png FILE").await;
    let session = session(&server).await;
    assert!(said.contains(" rows and ") && said.contains("this terminal has 24 and 80"), "{said}");
    assert!(said.contains(&format!("qrcast link --session {session} --phone NUMBER")), "{said}");
    assert!(!said.contains('▀'), "{said}");
    // It follows the window.
    terminal.resize(LARGE);
    terminal.shows_qr("").await;
    terminal.resize(SMALL);
    terminal.shows("this terminal has 24 and 80").await;
    terminal.types("\x03");
    let (code, said) = terminal.ends().await;
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("the session goes on") && !said.contains('▀'), "{said}");
    assert_eq!(server.session(&session).status().await["status"], "scan_qr");
}

#[tokio::test]
async fn without_a_terminal_it_is_a_picture_or_a_code() {
    let (whatsapp, server) = world().await;
    let port = port(&server);
    let variables = [("PORT", port.as_str())];
    let said = qrcast(&["link"], &variables).await;
    assert_eq!((said.code, said.out.as_str()), (Some(64), ""), "{}", said.err);
    assert!(said.err.contains("--png FILE") && said.err.contains("--phone NUMBER"), "{}", said.err);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("qr.png");
    let mut linking =
        Running::start(&["link", "--user-id", "ada", "--png", file.to_str().unwrap()], &variables);
    linking.reads("QR 1 of 6 is in ").await;
    let first = reads_qr(&std::fs::read(&file).unwrap()).unwrap();
    server.session(&session(&server).await).restart().await;
    linking.reads("QR 1 of 6 is in ").await;
    let second = reads_qr(&std::fs::read(&file).unwrap()).unwrap();
    assert_ne!(first, second);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    scan(&whatsapp, second).await;
    linking.reads("Linked: +").await;
    assert_eq!(linking.ends().await, Some(0));
    // By a code, of a session that is there.
    let other = server.init("eve").await;
    let arguments = ["link", "--session", &other.id, "--phone", "+90 555 123 45 67"];
    let mut linking = Running::start(&arguments, &variables);
    let line = linking.reads("Code: ").await.pop().unwrap();
    let code = line.split([' ', ',']).nth(1).unwrap().to_owned();
    let enter = EnterCode { phone: "905551234567".into(), code, push_name: None };
    soon("the code", whatsapp.enter_code(enter)).await.unwrap();
    linking.reads("Linked: +905551234567").await;
    assert_eq!(linking.ends().await, Some(0));
}

#[tokio::test]
async fn events_outlive_a_crash_and_none_comes_twice() {
    let whatsapp = whatsapp().await;
    let port = free_port();
    let server = Server::builder(&whatsapp.url()).variable("PORT", &port).start().await;
    let variables = [("PORT", port.as_str())];
    let ada = server.init("ada").await.id;
    let mut one = Running::start(&["events", "--json", "--session", &ada], &variables);
    let mut ids: Vec<String> = one.reads(r#""event":"qr""#).await;
    let mut all = Running::start(&["events"], &variables);
    let mut seen = all.hears_of(&server, "before").await;
    let server = server.crash_and_restart().await;
    server.session(&ada).link(&whatsapp).await;
    ids.extend(one.reads(r#""event":"ready""#).await);
    let numbers = |line: &String| {
        let event: Value = serde_json::from_str(line).unwrap();
        let (epoch, seq) = event["id"].as_str().unwrap().split_once('-').unwrap();
        (epoch.parse::<u64>().unwrap(), seq.parse::<u64>().unwrap())
    };
    let ids: Vec<_> = ids.iter().map(numbers).collect();
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    seen.extend(all.hears_of(&server, "after").await);
    assert_eq!(qrcast(&["logout", &ada, "--yes"], &variables).await.code, Some(0));
    one.reads(r#""reason":"deleted""#).await;
    assert_eq!(one.ends().await, Some(0));
    seen.extend(all.reads("reason=deleted").await);
    let unique: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "{seen:#?}");
    assert!(!seen.iter().any(|line| line.contains("2@") || line.contains("data:")), "{seen:#?}");
}

#[tokio::test]
async fn sessions_are_listed_and_refusals_say_what_to_do() {
    let whatsapp = whatsapp().await;
    let key = "main:0123456789abcdef";
    let server = Server::builder(&whatsapp.url()).variable("API_KEYS", key).start().await;
    let server = server.with_key("0123456789abcdef");
    let port = port(&server);
    let (here, base) = ([("PORT", port.as_str()), ("API_KEYS", key)], server.base.clone());
    let said = qrcast(&["sessions"], &here).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.starts_with("no sessions yet; `qrcast link`"), "{}", said.out);
    let linked = server.init("ada").await;
    let jid = linked.link(&whatsapp).await;
    server.init("eve").await.reaches("scan_qr").await;
    // By another address, with a key of its own.
    let there = ["sessions", "--server", &base];
    let said = qrcast(&there, &[("QRCAST_API_KEY", "0123456789abcdef")]).await;
    let lines: Vec<_> = said.out.lines().collect();
    assert_eq!(lines.len(), 3, "{}", said.out);
    let number = jid.split([':', '@']).next().unwrap();
    assert!(lines[1].contains(&linked.id) && lines[1].contains(&format!("+{number}")), "{}", said.out);
    assert!(lines[2].contains("session_eve_") && lines[2].contains("scan_qr"), "{}", said.out);
    let said = qrcast(&["sessions", "--json"], &here).await;
    let list: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 2);
    // The keys of this server are not shown to another.
    for (variables, words) in [
        (&here[..], "put the secret of one of its API_KEYS into QRCAST_API_KEY"),
        (&[("QRCAST_API_KEY", "another-secret")], "is none of its keys"),
    ] {
        let said = qrcast(&there, variables).await;
        assert_eq!((said.code, said.out.as_str()), (Some(77), ""));
        assert!(said.err.contains(words) && !said.err.contains("another-secret"), "{}", said.err);
    }
    let said = qrcast(&["logout", "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11", "--yes"], &here).await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("SESSION_NOT_FOUND") && said.err.contains("`qrcast sessions`"), "{}", said.err);
    let said = qrcast(&["logout", &linked.id], &here).await;
    assert!(said.code == Some(64) && said.err.contains("--yes"), "{}", said.err);
    let said = qrcast(&["link", "--user-id", "a b", "--png", "/nowhere/qr.png"], &here).await;
    assert!(said.code == Some(64) && said.err.contains("INVALID_USER_ID"), "{}", said.err);
    let said = qrcast(&["events"], &[("PORT", &free_port())]).await;
    assert_eq!(said.code, Some(69));
    assert!(said.err.contains("does not answer") && said.err.lines().count() == 1, "{}", said.err);
}

#[tokio::test]
async fn bash_completes_and_man_describes() {
    let script = qrcast(&["completions", "bash"], &[]).await;
    assert_eq!(script.code, Some(0));
    let try_it = format!(
        "{}\ncomplete -p qrcast\nCOMP_WORDS=(qrcast link --p) COMP_CWORD=2\n_qrcast qrcast --p link\necho \"${{COMPREPLY[@]}}\"",
        script.out
    );
    let output = Command::new("bash").args(["--norc", "-c", &try_it]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("-F _qrcast qrcast\n") && said.contains("--phone --png"), "{output:?}");
    for shell in ["zsh", "fish"] {
        assert!(qrcast(&["completions", shell], &[]).await.out.contains("check-config"));
    }
    assert_eq!(qrcast(&["man", "nothing"], &[]).await.code, Some(64));
    let folder = tempfile::tempdir().unwrap();
    for (command, words) in [(None, "API_KEYS"), (Some("link"), "--png")] {
        let arguments: Vec<_> = std::iter::once("man").chain(command).collect();
        let page = folder.path().join("page.1");
        std::fs::write(&page, qrcast(&arguments, &[]).await.out).unwrap();
        if !is_installed("man") {
            return;
        }
        let shown = Command::new("man")
            .args(["--warnings", "-l"])
            .arg(&page)
            .env("LC_ALL", "C.UTF-8")
            .output()
            .await
            .unwrap();
        let said = String::from_utf8(shown.stdout).unwrap();
        assert!(
            said.contains(words) && shown.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&shown.stderr)
        );
    }
}
