//! A recipe that runs: a program that prints lines, or a page that shows them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::backend::Backend;
use crate::support::browser::{Browser, Screen};
use crate::support::soon;

/// Where `scripts/clients` puts the libraries.
const LIBRARIES: &str = "target/clients";
/// The one that is a page.
pub(super) const PAGE: &str = "eventsource.html";
/// `ws.mjs` with Node's own WebSocket in the place of the package.
pub(super) const GLOBAL: &str = "global.mjs";

/// A copy of the recipes, beside the libraries that they import. `None`, and said, where those are not.
pub(super) fn beside_libraries(lists: &[&str]) -> Option<TempDir> {
    let libraries = Path::new(LIBRARIES);
    if let Some(list) = lists.iter().find(|list| !libraries.join(list).exists()) {
        eprintln!("NOT RUN: {LIBRARIES}/{list} is not there; scripts/clients --all fetches what it lists");
        return None;
    }
    let folder = tempfile::tempdir_in(libraries).unwrap();
    for file in std::fs::read_dir("examples/clients").unwrap().map(|file| file.unwrap().path()) {
        if file.is_file() {
            std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
    }
    let ws = std::fs::read_to_string("examples/clients/ws.mjs").unwrap();
    let (import, global) = ("import WebSocket from \"ws\";\n", folder.path().join(GLOBAL));
    assert!(ws.contains(import));
    std::fs::write(global, ws.replace(import, "")).unwrap();
    Some(folder)
}

/// Dropping it ends it.
pub(super) struct Running {
    pub(super) name: &'static str,
    body: Body,
}

enum Body {
    Program { process: Child, lines: Arc<Mutex<Vec<String>>> },
    Page(Box<Browser>),
}

impl Running {
    pub(super) async fn start(
        name: &'static str,
        folder: &Path,
        server: &str,
        session: &str,
        backend: &Backend,
    ) -> Self {
        if name == PAGE {
            let url = format!("{}/?server={server}&session={session}", backend.base);
            let mut browser = Browser::open(Screen::WIDE, &url).await;
            browser.knows(server);
            return Self { name, body: Body::Page(Box::new(browser)) };
        }
        let token_url = format!("{}/qrcast-token?recipe={name}", backend.base);
        let mut command = command(name, folder);
        command.args([server, session, &token_url]).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let lines = Arc::<Mutex<Vec<_>>>::default();
        let heard = lines.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                heard.lock().unwrap().push(line);
            }
        });
        Self { name, body: Body::Program { process, lines } }
    }

    /// What it has said up to now.
    pub(super) async fn lines(&self) -> Vec<String> {
        match &self.body {
            Body::Program { lines, .. } => lines.lock().unwrap().clone(),
            Body::Page(browser) => {
                let text: String = browser.js("document.querySelector('pre').textContent").await;
                text.lines().map(str::to_owned).collect()
            }
        }
    }

    /// The ids of the events that it has told of.
    pub(super) async fn ids(&self) -> Vec<String> {
        let ids = |line: &String| line.split_once(' ').map(|(id, _)| id.to_owned());
        self.lines().await.iter().filter_map(ids).collect()
    }

    /// It has nothing left to do, and nothing with which it could come back; a program's exit code.
    pub(super) async fn ends(self) -> Option<i32> {
        match self.body {
            Body::Program { mut process, .. } => {
                let code = soon(&format!("{} to end", self.name), process.wait()).await.unwrap().code();
                Some(code.unwrap())
            }
            Body::Page(browser) => {
                let open: Value =
                    browser.js("sources.filter((source) => source.readyState !== 2).length").await;
                assert_eq!(open, 0, "{} has connections", self.name);
                browser.closes().await;
                None
            }
        }
    }
}

fn command(name: &str, folder: &Path) -> Command {
    let file = folder.join(name);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut command = match file.extension().unwrap().to_str().unwrap() {
        "mjs" => {
            let mut node = Command::new("node");
            // Node 20 has its own behind a flag.
            node.args((name == GLOBAL).then_some("--experimental-websocket"));
            node.arg("--no-warnings").arg("--import").arg(root.join("tests/js/window.mjs"));
            node
        }
        "py" => Command::new(root.join(LIBRARIES).join("python/bin/python")),
        _ => Command::new("bash"),
    };
    command.arg(file);
    command
}
