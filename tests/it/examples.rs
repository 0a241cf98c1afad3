//! Each example and the tutorial do what they say, against the real server: from Rust, from a page, from curl, from Python.

use serde_json::{Value, json};
use simulator::{Scan, Simulator};
use tokio::process::Command;

use crate::support::browser::{Browser, Screen, reads_qr};
use crate::support::program::{Program, example};
use crate::support::proxy::{Proxy, free_port};
use crate::support::{Seen, Server, Session, eventually, soon, whatsapp, world};

/// Its `main` takes the arguments of a program; the rest of it is what runs here.
#[path = "../../examples/watch.rs"]
#[expect(dead_code, reason = "`main` is called by people")]
mod watch;

async fn scan(whatsapp: &Simulator, session: &Session<'_>) -> String {
    let qr = session.qr_code().await.1["qrString"].as_str().unwrap().to_owned();
    soon("a scan", whatsapp.scan(Scan { qr, ..Scan::default() })).await.unwrap()
}

#[tokio::test]
async fn watch_rs_follows_a_session_to_its_end() {
    let (whatsapp, server) = world().await;
    let session = server.init("ada").await;
    let mut viewer = session.sse().await;
    viewer.expects("status").await;
    let (base, id) = (server.base.clone(), session.id.clone());
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let following = tokio::spawn(async move {
        watch::follow(&base, &id, None, |frame| sender.send(frame.clone()).unwrap()).await
    });
    let mut told = viewer.until("qr").await;
    assert_eq!(soon("a frame", heard.recv()).await.unwrap(), frame(&told[0]));
    let jid = scan(&whatsapp, &session).await;
    told.extend(viewer.until("ready").await);
    whatsapp.logout(&jid).unwrap();
    told.extend(viewer.until("disconnected").await);
    soon("watch.rs to end", following).await.unwrap().unwrap();
    for expected in &told[1..] {
        assert_eq!(heard.recv().await.unwrap(), frame(expected));
    }
    assert!(heard.recv().await.is_none());
}

#[tokio::test]
async fn watch_rs_says_when_there_is_no_such_session() {
    let (_whatsapp, server) = world().await;
    let unknown = "session_x_00000000-0000-4000-8000-000000000000";
    let refused = soon("a refusal", watch::follow(&server.base, unknown, None, |_| {})).await.unwrap_err();
    assert!(refused.to_string().contains("404"), "{refused}");
}

#[tokio::test]
async fn follow_py_follows_a_session_through_a_restart_to_its_end() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("PORT", &free_port()).start().await;
    let session = server.init("ada").await;
    let id = session.id.clone();
    let mut python =
        Program::start(Command::new("python3").args(["examples/follow.py", &server.base, &session.id]));
    let first: Value = serde_json::from_str(&python.line().await).unwrap();
    assert_eq!(first, frame(&session.sse().await.awaits("qr").await));
    let jid = scan(&whatsapp, &session).await;
    session.reaches("connected").await;
    let server = server.crash_and_restart().await;
    server.session(&id).reaches("connected").await;
    whatsapp.logout(&jid).unwrap();
    let mut last = first;
    while last["data"]["reason"] != "logged_out" {
        let next: Value = serde_json::from_str(&python.line().await).unwrap();
        assert!(cursor(&next) > cursor(&last), "{last} then {next}");
        last = next;
    }
    assert_eq!(python.ends().await, Some(0));
}

#[tokio::test]
async fn follow_py_and_watch_rs_end_with_their_token() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("API_KEYS", "main:secret").start().await;
    let post = async |path: &str, body: Value| -> Value {
        let request = server.request(reqwest::Method::POST, path).bearer_auth("secret").json(&body);
        request.send().await.unwrap().json().await.unwrap()
    };
    let session = post("/api/init-session", json!({ "userId": "ada" })).await;
    let id = session["sessionId"].as_str().unwrap();
    let token = post(&format!("/api/sessions/{id}/stream-token"), json!({ "ttlSeconds": 1 })).await;
    let token = token["streamToken"].as_str().unwrap();
    let python =
        Program::start(Command::new("python3").args(["examples/follow.py", &server.base, id, token]));
    assert_eq!(python.ends().await, Some(1));
    let refused = soon("a refusal", watch::follow(&server.base, id, Some(token), |_| {})).await.unwrap_err();
    assert!(refused.to_string().contains("expired"), "{refused}");
}

#[tokio::test]
async fn poll_sh_links_an_account() {
    let (whatsapp, server) = world().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("qr.png");
    let mut shell = Program::start(
        Command::new("sh")
            .arg("examples/poll.sh")
            .args([&server.base, "ada+lovelace"])
            .arg(&file)
            .env("POLL_SECONDS", "0.1"),
    );
    let id = shell.until("session ").await["session ".len()..].to_owned();
    shell.until("scan ").await;
    let qr = reads_qr(&std::fs::read(&file).unwrap()).unwrap();
    soon("a scan", whatsapp.scan(Scan { qr, ..Scan::default() })).await.unwrap();
    let answer: Value = serde_json::from_str(&shell.until("{").await).unwrap();
    assert_eq!((&answer["status"], &answer["sessionId"]), (&json!("connected"), &json!(id)));
    assert_eq!(shell.ends().await, Some(0));
}

#[tokio::test]
async fn watch_html_links_an_account_inside_somebody_elses_page() {
    let whatsapp = whatsapp().await;
    let server = Server::builder(&whatsapp.url()).variable("API_KEYS", "main:secret").start().await;
    let server = server.with_key("secret");
    let session = server.init("ada").await;
    let page = std::fs::read_to_string("examples/watch.html").unwrap();
    let proxy = Proxy::serving(&server.base, "/watch.html", page).await;
    let token = session.answer["streamToken"].as_str().unwrap();
    let address = format!("{}/watch.html?session={}#token={token}", proxy.base, session.id);
    let browser = Browser::open(Screen::WIDE, &address).await;
    browser.reads("Scan to link WhatsApp").await;
    // In another language, and back in the middle of it all.
    browser
        .js::<Value>("document.querySelector('qrcast-link').words = { scanTitle: 'WhatsApp bağla' }")
        .await;
    browser.reads("WhatsApp bağla").await;
    browser.js::<Value>("document.querySelector('qrcast-link').words = {}").await;
    scan(&whatsapp, &session).await;
    browser.reads("This account is linked").await;
    browser.reads("Thank you. We will take it from here.").await;
    browser.closes().await;
}

/// The page of the tutorial, word for word as its reader writes it, on another origin than the server.
#[tokio::test]
async fn the_tutorials_page_greets_who_linked() {
    let (whatsapp, port) = (whatsapp().await, free_port());
    let origin = format!("http://127.0.0.1:{port}");
    let server = Server::builder(&whatsapp.url())
        .variable("API_KEYS", "web:secret")
        .variable("ALLOWED_ORIGINS", &origin)
        .start()
        .await
        .with_key("secret");
    let tutorial = std::fs::read_to_string("docs/first-link.md").unwrap();
    let page = tutorial.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let (folder, file) = (tempfile::tempdir().unwrap(), "greet.py");
    std::fs::write(folder.path().join(file), page.replace("8000", &port)).unwrap();
    let mut python = Command::new("python3");
    python.current_dir(&folder).arg(file).env("QRCAST", &server.base).env("QRCAST_KEY", "secret");
    let _python = Program::start(&mut python);
    eventually("the page's server to listen", || async {
        tokio::net::TcpStream::connect(format!("127.0.0.1:{port}")).await.is_ok()
    })
    .await;
    let mut browser = Browser::open(Screen::WIDE, &origin).await;
    browser.knows(&server.base);
    browser.reads("Connect your WhatsApp").await;
    browser.sees("qr").await;
    let list: Value = server.get("/api/sessions").await.json().await.unwrap();
    let session = server.session(list["sessions"][0]["sessionId"].as_str().unwrap());
    let qr = session.qr_code().await.1["qrString"].as_str().unwrap().to_owned();
    let push_name = Some("Ada Lovelace".into());
    soon("a scan", whatsapp.scan(Scan { qr, push_name, ..Scan::default() })).await.unwrap();
    browser.reads("Hello, Ada Lovelace!").await;
    browser.reloads().await;
    browser.reads("Hello, Ada Lovelace!").await;
    let list: Value = server.get("/api/sessions").await.json().await.unwrap();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1, "{list}");
    browser.closes().await;
}

fn frame(seen: &Seen) -> Value {
    json!({ "id": seen.id, "event": seen.event, "data": seen.data })
}

fn cursor(frame: &Value) -> qrcast::event::Cursor {
    frame["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_demo_links_an_account_by_itself_and_ends_when_told() {
    let mut demo = Program::start(example("demo").env("PORT", "0").env("RUST_LOG", "off"));
    let open = demo.until("open").await;
    let link = open.split_whitespace().last().unwrap().to_owned();
    let (base, id) = link.split_once("/?session=").unwrap();
    demo.until("linked").await;
    let status = format!("{base}/api/session-status/{id}");
    eventually("the session to be connected", || async {
        let answer: Value = reqwest::get(&status).await.unwrap().json().await.unwrap();
        answer["status"] == "connected"
    })
    .await;
    demo.signal("-TERM");
    assert_eq!(demo.ends().await, Some(0));
}
