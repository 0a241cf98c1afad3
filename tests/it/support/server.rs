//! The real binary, as a process of its own.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use reqwest::header::HeaderName;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use simulator::{Scan, Simulator};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::{Viewer, signal, soon};

/// A server, told what to be.
#[derive(Clone)]
pub(crate) struct Builder {
    variables: Vec<(String, String)>,
    folder: Arc<TempDir>,
    /// What starts the binary, where it does not start by itself.
    wrapper: Vec<String>,
    program: String,
}

impl Builder {
    /// Where it keeps its data. Builders that are clones of one another share it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// With a data folder on a disk of 3 MB. `None` where this machine lets nobody mount one.
    pub(crate) fn small_disk(mut self) -> Option<Self> {
        let script =
            format!("mount -t tmpfs -o size=3m tmpfs {} && exec \"$0\" \"$@\"", self.folder.path().display());
        let wrapper = ["unshare", "--map-root-user", "--mount", "sh", "-c", &script].map(str::to_owned);
        let works = std::process::Command::new(&wrapper[0]).args(&wrapper[1..]).arg("true").status();
        self.wrapper = wrapper.to_vec();
        works.is_ok_and(|status| status.success()).then_some(self)
    }

    /// Another version's binary.
    pub(crate) fn program(mut self, path: String) -> Self {
        self.program = path;
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the process and waits until it listens.
    pub(crate) async fn start(self) -> Server {
        let mut command = self.wrapper.clone();
        command.push(self.program.clone());
        let mut process = Command::new(&command[0])
            .args(&command[1..])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DATA_DIR", self.folder.path())
            .envs(self.variables.clone())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let base = soon("the server to listen", async {
            loop {
                let line = lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| {
                    panic!("the server ended before it listened: {:#?}", log.lock().unwrap())
                });
                log.lock().unwrap().push(line.clone());
                if let Some(address) = listening(&line) {
                    return format!("http://{address}");
                }
            }
        })
        .await;
        let rest = log.clone();
        let reader = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                rest.lock().unwrap().push(line);
            }
        });
        // A connection of its own for each request: a server that was paused closes idle ones when it goes on.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Server { process, base, log, reader, http, builder: self }
    }
}

/// The address that a line names, where it is the line that does.
fn listening(line: &str) -> Option<String> {
    let Ok(entry) = serde_json::from_str::<Value>(line) else {
        // `LOG_FORMAT=pretty`
        return Some(line.split_once("listening address=")?.1.split(' ').next()?.to_owned());
    };
    (entry["message"] == "listening").then(|| entry["address"].as_str().unwrap().to_owned())
}

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    process: Child,
    pub(crate) base: String,
    log: Arc<Mutex<Vec<String>>>,
    /// Reads the log; ends with the process.
    reader: JoinHandle<()>,
    http: reqwest::Client,
    builder: Builder,
}

impl Server {
    /// On a free port of loopback, against this WhatsApp.
    pub(crate) fn builder(whatsapp: &str) -> Builder {
        Builder {
            variables: Vec::new(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
            wrapper: Vec::new(),
            program: env!("CARGO_BIN_EXE_qrcast").to_owned(),
        }
        .variable("PORT", "0")
        .variable("LOG_FORMAT", "json")
        .variable("RUST_LOG", "info,qrcast=debug")
        .variable("WHATSAPP_URL", whatsapp)
        // Tests ask many times a second.
        .variable("RATE_LIMIT_DISABLED", "true")
        // Sessions come back at once, where a test says nothing else.
        .variable("WA_LOGINS_PER_SECOND", "1000")
        // A stop is quick, where a test says nothing else.
        .variable("READY_DELAY_MS", "0")
        .variable("DRAIN_SECONDS", "0")
    }

    /// Asks with this key from now on.
    pub(crate) fn with_key(mut self, key: &str) -> Self {
        let headers = [(HeaderName::from_static("x-api-key"), key.parse().unwrap())].into_iter().collect();
        self.http = reqwest::Client::builder().default_headers(headers).build().unwrap();
        self
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        soon(path, self.request(Method::GET, path).send()).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        soon(path, self.request(Method::POST, path).json(body).send()).await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Response {
        soon(path, self.request(Method::DELETE, path).send()).await.unwrap()
    }

    /// Makes a session for a user.
    pub(crate) async fn init(&self, user: &str) -> Session<'_> {
        self.init_with(json!({ "userId": user })).await
    }

    pub(crate) async fn init_with(&self, body: Value) -> Session<'_> {
        let response = self.post("/api/init-session", &body).await;
        assert_eq!(response.status(), StatusCode::OK);
        let answer: Value = response.json().await.unwrap();
        Session { server: self, id: answer["sessionId"].as_str().unwrap().to_owned(), answer }
    }

    /// A session that was made before, perhaps by another process.
    pub(crate) fn session(&self, id: &str) -> Session<'_> {
        Session { server: self, id: id.to_owned(), answer: Value::Null }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// Where it keeps its data.
    pub(crate) fn folder(&self) -> &Path {
        self.builder.folder()
    }

    pub(crate) fn builder_again(&self) -> Builder {
        self.builder.clone()
    }

    /// `kill -9`; what starts the same server again on the same data.
    pub(crate) async fn crash(mut self) -> Builder {
        self.process.kill().await.unwrap();
        self.builder.clone()
    }

    /// `kill -9`, and the same server again at once.
    pub(crate) async fn crash_and_restart(self) -> Server {
        self.crash().await.start().await
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Sends a signal: `-STOP`, `-CONT`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Sends SIGTERM and waits for the end; the exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        self.signal("-TERM");
        self.ends().await
    }

    /// Waits for the end, and for the last line of the log; the exit code.
    pub(crate) async fn ends(&mut self) -> Option<i32> {
        let code = soon("the server to stop", self.process.wait()).await.unwrap().code();
        // A second wait finds it finished, and must not ask it again.
        if !self.reader.is_finished() {
            soon("the end of the log", &mut self.reader).await.unwrap();
        }
        code
    }
}

/// A session on a server.
pub(crate) struct Session<'a> {
    pub(crate) server: &'a Server,
    pub(crate) id: String,
    pub(crate) answer: Value,
}

impl Session<'_> {
    pub(crate) async fn sse(&self) -> Viewer {
        self.sse_after(None).await
    }

    pub(crate) async fn sse_after(&self, cursor: Option<&str>) -> Viewer {
        let request = self.server.request(Method::GET, &format!("/api/sessions/{}/events", self.id));
        soon("an SSE answer", Viewer::sse_by(request, cursor)).await.unwrap()
    }

    pub(crate) async fn websocket(&self) -> Viewer {
        self.websocket_after(None).await
    }

    pub(crate) async fn websocket_after(&self, cursor: Option<&str>) -> Viewer {
        Viewer::websocket(&self.server.base, &self.id, cursor).await
    }

    pub(crate) async fn restart(&self) -> Response {
        let path = format!("/api/sessions/{}/restart", self.id);
        soon(&path, self.server.request(Method::POST, &path).send()).await.unwrap()
    }

    pub(crate) async fn delete(&self) -> StatusCode {
        self.server.delete(&format!("/api/sessions/{}", self.id)).await.status()
    }

    pub(crate) async fn pairing_code(&self, phone_number: &str) -> (StatusCode, Value) {
        let path = format!("/api/sessions/{}/pairing-code", self.id);
        let response = self.server.post(&path, &json!({ "phoneNumber": phone_number })).await;
        (response.status(), response.json().await.unwrap())
    }

    /// A phone scans the QR of this moment; the device's JID, once it is logged in.
    pub(crate) async fn link(&self, whatsapp: &Simulator) -> String {
        let qr = self.sse().await.awaits("qr").await;
        let qr = qr.data["qrString"].as_str().unwrap().to_owned();
        let jid = soon("a scan", whatsapp.scan(Scan { qr, ..Scan::default() })).await.unwrap();
        self.reaches("connected").await;
        jid
    }

    /// A phone scans the QR of this moment, for the account of this name; the device's JID.
    pub(crate) async fn is_scanned(&self, whatsapp: &Simulator, name: &str) -> String {
        let qr = self.qr_code().await.1["qrString"].as_str().unwrap().to_owned();
        let scan = Scan { qr, push_name: Some(name.into()), ..Scan::default() };
        soon("a scan", whatsapp.scan(scan)).await.unwrap()
    }

    /// Where the person who is to link the account is sent.
    pub(crate) fn link_url(&self) -> String {
        format!("{}{}", self.server.base, self.answer["linkUrl"].as_str().unwrap())
    }

    pub(crate) async fn status(&self) -> Value {
        let response = self.server.get(&format!("/api/session-status/{}", self.id)).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    pub(crate) async fn qr_code(&self) -> (StatusCode, Value) {
        let response = self.server.get(&format!("/api/qr-code/{}", self.id)).await;
        (response.status(), response.json().await.unwrap())
    }

    /// Polls until the session stands there.
    pub(crate) async fn reaches(&self, status: &str) -> Value {
        soon(status, async {
            loop {
                let answer = self.status().await;
                if answer["status"] == status {
                    return answer;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await
    }
}
