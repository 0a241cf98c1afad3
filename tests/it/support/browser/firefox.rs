//! Firefox, driven by WebDriver BiDi, which it speaks by itself: no geckodriver. What a person does with it is in ../browser.rs.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex as Turn, mpsc};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Log, Screen};
use crate::support::soon;

/// Debian's.
pub(crate) const PROGRAM: &str = "firefox-esr";

/// It asks nobody for anything: what is not on this machine is sent to a port on which nobody listens.
const QUIET: &str = r#"
user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", 9);
user_pref("network.proxy.ssl", "127.0.0.1");
user_pref("network.proxy.ssl_port", 9);
user_pref("app.update.disabledForTesting", true);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("intl.accept_languages", "en-US, en");
"#;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A Firefox with one page. Dropping it kills it.
pub(crate) struct Firefox {
    process: Child,
    /// One command at a time: what is sent, and the answers.
    wire: Turn<(mpsc::UnboundedSender<Message>, mpsc::UnboundedReceiver<Value>, u64)>,
    /// The page, as the protocol names it.
    context: String,
    _profile: TempDir,
}

impl Firefox {
    /// Opens an empty page on a fresh profile.
    pub(super) async fn open(log: &Arc<Mutex<Log>>, screen: Screen) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The protocol cannot choose the colour scheme.
        let dark = i32::from(!screen.dark);
        let scheme = format!("user_pref(\"layout.css.prefers-color-scheme.content-override\", {dark});\n");
        std::fs::write(profile.path().join("user.js"), format!("{QUIET}{scheme}")).unwrap();
        let mut process = Command::new(PROGRAM)
            .args(["--headless", "--no-remote", "--remote-debugging-port=0", "--profile"])
            .arg(profile.path())
            .env("HOME", profile.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = soon("Firefox", async {
            loop {
                let line = lines.next_line().await.unwrap().expect("Firefox ended");
                if let Some(address) = line.strip_prefix("WebDriver BiDi listening on ") {
                    return address.to_owned();
                }
            }
        })
        .await;
        // A pipe that nobody reads would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let (socket, _) = soon("BiDi", connect_async(format!("{address}/session"))).await.unwrap();
        let wire = Turn::new(carry(socket, log.clone()));
        let mut firefox = Self { process, wire, context: String::new(), _profile: profile };
        firefox.asks("session.new", json!({ "capabilities": {} })).await.unwrap();
        let events = ["log.entryAdded", "network.beforeRequestSent"];
        firefox.asks("session.subscribe", json!({ "events": events })).await.unwrap();
        // The tab with which Firefox begins never has the focus: there no key presses a button.
        let tab = firefox.asks("browsingContext.create", json!({ "type": "tab" })).await.unwrap();
        tab["context"].as_str().unwrap().clone_into(&mut firefox.context);
        firefox
    }

    /// Sends a command; its result, or what went wrong.
    async fn asks(&self, method: &str, parameters: Value) -> Result<Value, String> {
        let mut wire = self.wire.lock().await;
        let (out, answers, last) = &mut *wire;
        *last += 1;
        let command = json!({ "id": *last, "method": method, "params": parameters });
        out.send(Message::text(command.to_string())).unwrap();
        let mut answer = soon(method, async {
            loop {
                let answer = answers.recv().await.ok_or("Firefox is gone")?;
                // Whoever asked before may have given up.
                if answer["id"] == *last {
                    return Ok::<_, String>(answer);
                }
            }
        })
        .await?;
        if answer["type"] == "error" {
            return Err(format!("{method}: {}", answer["message"]));
        }
        Ok(answer["result"].take())
    }

    pub(super) async fn sits_at(&self, screen: Screen) {
        let viewport = json!({ "width": screen.width, "height": screen.height });
        let asked = json!({ "context": self.context, "viewport": viewport });
        self.asks("browsingContext.setViewport", asked).await.unwrap();
    }

    pub(super) async fn goes_to(&self, url: &str) {
        let asked = json!({ "context": self.context, "url": url, "wait": "complete" });
        self.asks("browsingContext.navigate", asked).await.unwrap();
    }

    pub(super) async fn reloads(&self) {
        let asked = json!({ "context": self.context, "wait": "complete" });
        self.asks("browsingContext.reload", asked).await.unwrap();
    }

    /// The text that a script gives back in the end.
    pub(super) async fn evaluates(&self, code: String) -> Result<Option<String>, String> {
        let asked = json!({
            "expression": code, "target": { "context": self.context }, "awaitPromise": true, "userActivation": true,
        });
        let answer = self.asks("script.evaluate", asked).await?;
        match answer["exceptionDetails"].as_object() {
            Some(details) => Err(format!("{details:?}")),
            None => Ok(answer["result"]["value"].as_str().map(str::to_owned)),
        }
    }

    pub(super) async fn clicks_at(&self, [x, y]: [f64; 2]) {
        let [x, y] = [x, y].map(f64::round);
        self.does(json!({
            "type": "pointer", "id": "mouse",
            "actions": [
                { "type": "pointerMove", "x": x, "y": y },
                { "type": "pointerDown", "button": 0 },
                { "type": "pointerUp", "button": 0 },
            ],
        }))
        .await;
    }

    pub(super) async fn inserts(&self, text: &str) {
        for letter in text.chars() {
            self.strikes(letter).await;
        }
    }

    pub(super) async fn presses(&self, key: &str) {
        // As WebDriver numbers the keys that write nothing.
        self.strikes(match key {
            "Tab" => '\u{e004}',
            "Enter" => '\u{e006}',
            "Escape" => '\u{e00c}',
            "ArrowDown" => '\u{e015}',
            other => panic!("no such key here: {other}"),
        })
        .await;
    }

    async fn strikes(&self, key: char) {
        let both = ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }));
        self.does(json!({ "type": "key", "id": "keys", "actions": both })).await;
    }

    async fn does(&self, source: Value) {
        let asked = json!({ "context": self.context, "actions": [source] });
        self.asks("input.performActions", asked).await.unwrap();
    }

    pub(super) async fn screenshot(&self) -> Vec<u8> {
        let asked = json!({ "context": self.context });
        let picture = self.asks("browsingContext.captureScreenshot", asked).await.unwrap();
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    pub(super) async fn closes(&mut self) {
        self.asks("browser.close", json!({})).await.unwrap();
        soon("Firefox to end", self.process.wait()).await.unwrap();
    }
}

/// Carries commands and answers, and writes down what happens in the page.
fn carry(
    socket: Socket,
    log: Arc<Mutex<Log>>,
) -> (mpsc::UnboundedSender<Message>, mpsc::UnboundedReceiver<Value>, u64) {
    let (mut to_firefox, mut from_firefox) = socket.split();
    let (out, mut commands) = mpsc::unbounded_channel();
    let (answered, answers) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            if to_firefox.send(command).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(Ok(message)) = from_firefox.next().await {
            let Ok(text) = message.to_text() else { continue };
            let Ok(said) = serde_json::from_str::<Value>(text) else { continue };
            if said["type"] == "event" {
                hear(&said, &mut log.lock().unwrap());
            } else {
                // Nobody waits any more when the test is over.
                let _ = answered.send(said);
            }
        }
    });
    (out, answers, 0)
}

fn hear(said: &Value, log: &mut Log) {
    let what = &said["params"];
    match said["method"].as_str() {
        Some("log.entryAdded") if what["level"] == "error" => log.errors.push(what.to_string()),
        Some("network.beforeRequestSent") => {
            log.urls.push(what["request"]["url"].as_str().unwrap_or_default().to_owned());
        }
        _ => {}
    }
}
