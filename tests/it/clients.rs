//! The recipes of docs/clients.md, run as they stand in `examples/clients`, against the real server: a line that breaks, a restart, a
//! drain, tokens that are refused and that expire, and the end. They hear every event, each once and in order, and then stop.

mod backend;
mod line;
mod recipe;

use std::time::Instant;

use futures::future::join_all;
use qrcast::event::Kind;
use reqwest::StatusCode;
use serde_json::json;
use simulator::Simulator;
use tempfile::TempDir;
use tokio::net::TcpListener;

use self::backend::{Backend, Token};
use self::line::{Fate, Line};
use self::recipe::{GLOBAL, PAGE, Running, beside_libraries};
use crate::support::proxy::free_port;
use crate::support::{Server, Session, eventually, whatsapp};

const KEY: &str = "all-of-it";
const PYTHON: [&str; 4] =
    ["follow_aiohttp.py", "follow_httpx_sse.py", "follow_websocket_client.py", "follow_websockets.py"];
const NODE: [&str; 7] = [
    "eventsource.mjs",
    "fetch-event-source.mjs",
    "partysocket.mjs",
    "reconnecting-eventsource.mjs",
    "reconnecting-websocket.mjs",
    GLOBAL,
    "ws.mjs",
];
const CURL: &str = "curl.sh";
/// The lists of what was fetched for Python and for Node.
const LISTS: [&str; 2] = ["requirements.txt", "fetched-lock.json"];

fn all() -> Vec<&'static str> {
    [&PYTHON[..], &NODE, &[CURL, PAGE]].concat()
}

/// Recipes that follow one session.
struct World {
    whatsapp: Simulator,
    server: Server,
    session: String,
    jid: String,
    line: Line,
    backend: Backend,
    folder: TempDir,
    running: Vec<Running>,
}

impl World {
    /// With a session that is linked, and a back-end that gives these tokens first; no recipe runs yet.
    async fn new(folder: TempDir, first: impl AsyncFnOnce(&Session<'_>) -> Vec<Token>) -> Self {
        let (whatsapp, port) = (whatsapp().await, free_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::builder(&whatsapp.url())
            .variable("API_KEYS", &format!("main:{KEY}"))
            .variable("TOKEN_SECRET", &"1".repeat(32))
            .variable("PORT", &port)
            .variable("ALLOWED_ORIGINS", &format!("http://{}", listener.local_addr().unwrap()))
            .start()
            .await
            .with_key(KEY);
        let session = server.init("ada").await;
        let jid = session.link(&whatsapp).await;
        let (id, first) = (session.id.clone(), first(&session).await);
        let issuer = format!("{}/api/sessions/{id}/stream-token", server.base);
        let backend = Backend::start(listener, issuer, KEY, first).await;
        let line = Line::to(&port).await;
        Self { whatsapp, server, session: id, jid, line, backend, folder, running: Vec::new() }
    }

    async fn run(&mut self, recipes: &[&'static str]) {
        let start = |name| {
            let (folder, server) = (self.folder.path(), &self.line.base);
            Running::start(name, folder, server, &self.session, &self.backend)
        };
        self.running = join_all(recipes.iter().map(|name| start(name))).await;
    }

    fn session(&self) -> Session<'_> {
        self.server.session(&self.session)
    }

    /// WhatsApp drops the connection and takes the device again: two events more.
    async fn goes_on(&self) {
        let session = self.session();
        session.reaches("connected").await;
        let mut viewer = session.sse().await;
        viewer.until("ready").await;
        eventually("a connection to drop", async || {
            self.whatsapp.drop_connections(Some(&self.jid)).unwrap() == 1
        })
        .await;
        viewer.until("ready").await;
    }

    /// Everybody has heard the newest event; it is said how long that took.
    async fn is_heard(&self, after: &str, since: Instant) {
        let newest = self.session().status().await["lastEventId"].as_str().unwrap().to_owned();
        let hears = async |running: &Running| {
            eventually(&format!("{} to hear {newest} after {after}", running.name), async || {
                running.ids().await.contains(&newest)
            })
            .await;
            eprintln!("{}: {after}, {:.1} s", running.name, since.elapsed().as_secs_f64());
        };
        join_all(self.running.iter().map(hears)).await;
    }

    async fn starts_again(&mut self) {
        let again = self.server.builder_again().start().await;
        self.server = again.with_key(KEY);
        // So much that nobody can have heard while it was away.
        self.goes_on().await;
        self.goes_on().await;
    }

    async fn restarts(&mut self) {
        let begun = Instant::now();
        self.server.signal("-KILL");
        self.server.ends().await;
        self.starts_again().await;
        self.is_heard("a restart", begun).await;
    }

    async fn drains(&mut self) {
        let begun = Instant::now();
        assert_eq!(self.server.terminate().await, Some(0), "{:#?}", self.server.log());
        self.starts_again().await;
        self.is_heard("a drain", begun).await;
    }

    /// Each connection ends in the middle of an event, where its id has come and its data has not.
    async fn breaks(&self) {
        self.line.is(Fate::Breaks);
        self.goes_on().await;
        eventually("every line to break", async || self.line.broken() == self.running.len()).await;
        self.line.is(Fate::Well);
        self.is_heard("a broken line", Instant::now()).await;
    }

    /// The second token expires in the middle of a stream, which the server notices at a heartbeat.
    async fn asks_for_a_third_token(&self) {
        for running in &self.running {
            eventually(&format!("{} to ask for a token", running.name), async || {
                self.backend.given(running.name) > 2
            })
            .await;
        }
        self.goes_on().await;
        self.is_heard("the end of a token", Instant::now()).await;
    }

    /// The session ends, and so do all, who have heard everything from the first event on.
    async fn ends(&mut self) {
        self.whatsapp.logout(&self.jid).unwrap();
        self.session().reaches("disconnected").await;
        self.is_heard("the end", Instant::now()).await;
        let first = self.running[0].ids().await[0].clone();
        let mut log = vec![first.clone()];
        let mut viewer = self.session().sse_after(Some(&first)).await;
        while let Ok(seen) = viewer.next().await {
            log.extend(seen.id);
        }
        self.end_with(&log).await;
    }

    /// Each has told of exactly these events and says that it is over, asks for nothing more and is gone.
    async fn end_with(&mut self, told: &[String]) {
        for running in self.running.drain(..) {
            let name = running.name;
            eventually(&format!("{name} to stop"), async || {
                running.lines().await.last().is_some_and(|line| line == "ended")
            })
            .await;
            assert_eq!(running.ids().await, told, "{name}");
            // A token for each time that it came back, not for ever more tries.
            assert!(self.backend.given(name) <= 12, "{name} asked for {} tokens", self.backend.given(name));
            let code = running.ends().await;
            assert!(code.is_none_or(|code| code == 0), "{name} ended with {code:?}");
        }
    }
}

/// A stream token that the server no longer takes, but knows.
async fn expired(session: &Session<'_>) -> String {
    let path = format!("/api/sessions/{}/stream-token", session.id);
    let answer = session.server.post(&path, &json!({ "ttlSeconds": 1 })).await;
    let token = answer.json::<serde_json::Value>().await.unwrap()["streamToken"].as_str().unwrap().to_owned();
    let url = format!("{}/api/session-status/{}", session.server.base, session.id);
    eventually("a token to expire", async || {
        let answer = reqwest::Client::new().get(&url).bearer_auth(&token).send().await.unwrap();
        answer.status() == StatusCode::UNAUTHORIZED
    })
    .await;
    token
}

/// The page shows the loop, leads to every recipe, and says which versions were tried: those that are pinned.
#[test]
fn the_page_has_every_recipe_as_it_is() {
    let read = |file: &str| std::fs::read_to_string(file).unwrap();
    let page = read("docs/clients.md");
    let quoted = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(read("examples/clients/loop.py").contains(quoted));
    for recipe in all().into_iter().filter(|recipe| *recipe != GLOBAL) {
        assert!(page.contains(&format!("(../examples/clients/{recipe})")), "{recipe}");
    }
    let package: serde_json::Value = serde_json::from_str(&read("examples/clients/package.json")).unwrap();
    let packages = package["dependencies"].as_object().unwrap().iter();
    let mut pinned: Vec<_> =
        packages.map(|(name, version)| format!("| `{name}` | {} |", version.as_str().unwrap())).collect();
    for (name, version) in
        read("examples/clients/requirements.txt").lines().filter_map(|line| line.split_once("=="))
    {
        pinned.push(match name {
            "httpx" => format!(", with httpx {version} |"),
            name => format!("| `{name}` | {version}"),
        });
    }
    assert_eq!(pinned.len(), 11);
    for row in pinned {
        assert!(page.contains(&row), "docs/clients.md has no {row}");
    }
    // A page hears only these.
    let names = Kind::NAMES.map(|name| format!("\"{name}\"")).join(", ");
    for file in ["shared.mjs", "eventsource.html"] {
        assert!(
            read(&format!("examples/clients/{file}")).contains(&format!("EVENTS = [{names}];")),
            "{file}"
        );
    }
}

#[tokio::test]
async fn the_shared_loop_comes_through_an_expired_token_a_restart_and_the_end() {
    let Some(folder) = beside_libraries(&LISTS[..1]) else { return };
    let mut world = World::new(folder, async |session| vec![Token::This(expired(session).await)]).await;
    world.run(&["follow_httpx_sse.py", "follow_websockets.py"]).await;
    world.is_heard("an expired token", Instant::now()).await;
    world.restarts().await;
    world.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: every client, through a token's end and a drain"]
async fn every_recipe_comes_through_everything_and_stops_at_the_end() {
    let Some(folder) = beside_libraries(&LISTS) else { return };
    let refused = Token::This("of.another-secret".to_owned());
    let mut world = World::new(folder, async |_| vec![refused, Token::For(15)]).await;
    world.run(&all()).await;
    world.is_heard("a refused token", Instant::now()).await;
    world.asks_for_a_third_token().await;
    world.breaks().await;
    world.restarts().await;
    world.drains().await;
    world.ends().await;
    // Whoever comes later hears the last event, and stops as well.
    let last = world.session().status().await["lastEventId"].as_str().unwrap().to_owned();
    world.run(&all()).await;
    world.end_with(&[last]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: 45 s of silence"]
async fn a_dead_line_is_noticed_by_all_but_those_that_cannot() {
    let Some(folder) = beside_libraries(&LISTS) else { return };
    let mut world = World::new(folder, async |_| Vec::new()).await;
    let mut recipes = all();
    recipes.retain(|recipe| ![PAGE, "reconnecting-eventsource.mjs"].contains(recipe));
    world.run(&recipes).await;
    world.is_heard("the beginning", Instant::now()).await;
    world.line.is(Fate::Silent);
    world.goes_on().await;
    world.is_heard("a silence", Instant::now()).await;
    world.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: every client"]
async fn a_back_end_that_refuses_ends_every_recipe() {
    let Some(folder) = beside_libraries(&LISTS) else { return };
    let mut world = World::new(folder, async |_| Vec::new()).await;
    world.session().delete().await;
    world.run(&all()).await;
    for running in world.running {
        let name = running.name;
        if name == PAGE {
            eventually("the page to say so", async || running.lines().await == ["refused"]).await;
        }
        let code = running.ends().await;
        assert_eq!(code, (name != PAGE).then_some(1), "{name}");
    }
}
