//! A real redis-server for the tests of everything that stands on Redis, and the tests of the connections themselves.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

/// A server on a free port with a folder of its own; ends when dropped.
pub(crate) struct Server {
    child: Option<Child>,
    port: u16,
    args: Vec<String>,
    folder: TempDir,
}

impl Server {
    /// With an append-only file that is written at each command, so that a restart has everything.
    pub(crate) fn start() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    pub(crate) fn with(args: &[&str]) -> Self {
        Self::on(free_port(), args)
    }

    fn on(port: u16, args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut server = Self { child: None, port, args, folder: TempDir::new().unwrap() };
        server.launch();
        server
    }

    /// Starts the process (again); returns when it answers.
    pub(crate) fn launch(&mut self) {
        let port = self.port.to_string();
        // QRCAST_TEST_REDIS: valkey-server, or another build.
        let program = std::env::var_os("QRCAST_TEST_REDIS").unwrap_or_else(|| "redis-server".into());
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--dir"]).arg(self.folder.path());
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server is installed: scripts/test does it"));
        let end = Instant::now() + Duration::from_secs(20);
        while self.admin().is_none() {
            assert!(Instant::now() < end, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn url(&self) -> String {
        let password = self.args.iter().skip_while(|arg| *arg != "--requirepass").nth(1);
        let login = password.map_or_else(String::new, |password| format!(":{password}@"));
        format!("redis://{login}127.0.0.1:{}", self.port)
    }

    pub(crate) async fn connect(&self) -> Redis {
        Redis::connect(&self.url(), "test:").await.unwrap().0
    }

    /// A second connection, with which a test breaks things.
    pub(crate) fn admin(&self) -> Option<redis::Connection> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
        redis::cmd("PING").query::<()>(&mut connection).ok()?;
        Some(connection)
    }

    pub(crate) fn tell(&self, words: &[&str]) -> redis::Value {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query(&mut self.admin().unwrap()).unwrap()
    }

    /// All keys there are.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = redis::from_redis_value(self.tell(&["KEYS", "*"])).unwrap();
        keys.sort();
        keys
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Kills the server and drops its data.
    pub(crate) fn forget(&mut self) {
        self.kill();
        self.folder = TempDir::new().unwrap();
    }
}

/// A port that is free at the moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until the state is as asked for.
pub(crate) async fn until(redis: &Redis, wanted: impl Fn(&ConnectionState) -> bool) -> ConnectionState {
    let mut state = redis.state();
    let found = tokio::time::timeout(Duration::from_secs(20), state.wait_for(|state| wanted(state)));
    found.await.expect("in time").expect("not dropped").clone()
}

pub(crate) fn is_up(state: &ConnectionState) -> bool {
    matches!(state, ConnectionState::Up(_))
}

fn server_of(state: ConnectionState) -> super::Server {
    match state {
        ConnectionState::Up(server) => server,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn scripts_are_known_after_a_flush() {
    let server = Server::start();
    let redis = server.connect().await;
    static SCRIPT: LazyLock<Script> =
        LazyLock::new(|| Script::new("return {KEYS[1], ARGV[1], redis.call('TIME')[1]}"));
    let key = redis.keys().beat();
    assert_eq!(key, "test:{beat}");
    for _ in 0..2 {
        server.tell(&["SCRIPT", "FLUSH"]);
        let (found, arg, _): (String, i64, i64) = redis.script(&SCRIPT).key(&key).arg(7).run().await.unwrap();
        assert_eq!((found, arg), (key.clone(), 7));
    }
    assert!((redis.now().await.unwrap() - server_clock()).abs() < 5_000);
    redis.close().await;
    assert!(matches!(redis.now().await, Err(StorageError::Closed)));
}

fn server_clock() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

#[tokio::test]
async fn settings_that_lose_data_are_warned_of() {
    let server = Server::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let (_, warnings) = Redis::connect(&server.url(), "").await.unwrap();
    assert_eq!(warnings, [Warning::NotDurable, Warning::Evicts]);
    let refuses = Server::with(&["--rename-command", "CONFIG", ""]);
    assert!(Redis::connect(&refuses.url(), "").await.unwrap().1.is_empty());
}

#[tokio::test]
async fn a_password_is_used_and_not_shown() {
    let server = Server::with(&["--requirepass", "opensesame"]);
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", server.port);
    let wrong = Redis::connect(&url("wrongpass1"), "").await.unwrap_err();
    assert!(matches!(wrong, ConnectError::Refused), "{wrong:?}");
    assert!(!format!("{wrong:?} {wrong}").contains("wrongpass1"));
    let (redis, _) = Redis::connect(&url("opensesame"), "").await.unwrap();
    assert!(!format!("{redis:?}").contains("opensesame"));
    let bad = Redis::connect("redis://:opensesame@[", "").await.unwrap_err();
    assert!(matches!(bad, ConnectError::Url) && !format!("{bad:?} {bad}").contains("opensesame"));
    assert!(matches!(Redis::connect(&url("x"), "a{b").await.unwrap_err(), ConnectError::Prefix));
}

#[tokio::test]
async fn a_user_without_dangerous_rights_will_do() {
    let user = ["--user", "limited", "on", ">opensesame", "~*", "&*", "+@all", "-@dangerous"];
    let server = Server::with(&user);
    let url = format!("redis://limited:opensesame@127.0.0.1:{}", server.port);
    let (redis, warnings) = Redis::connect(&url, "").await.unwrap();
    assert!(warnings.is_empty());
    assert_eq!(server_of(redis.state().borrow().clone()).run_id, "");
    redis.now().await.unwrap();
}

/// Redis quotes what it was sent.
#[tokio::test]
async fn no_argument_is_in_an_error() {
    let server = Server::with(&["--rename-command", "HSET", "", "--rename-command", "EVALSHA", ""]);
    let redis = server.connect().await;
    static SCRIPT: LazyLock<Script> =
        LazyLock::new(|| Script::new("return redis.call('HSET', KEYS[1], ARGV[1], ARGV[1])"));
    let of_script = redis.script(&SCRIPT).key("k").arg("opensesame").run::<()>().await.unwrap_err();
    let of_command =
        redis.query::<()>(redis::cmd("HSET").arg("k").arg("opensesame").arg("v")).await.unwrap_err();
    for error in [of_script, of_command] {
        assert!(matches!(error, StorageError::Failed(_)));
        assert!(!format!("{error:?}").contains("opensesame"), "{error:?}");
    }
}

#[tokio::test]
async fn tls_without_tls_over_there_is_away_and_no_panic() {
    let server = Server::start();
    let url = format!("rediss://127.0.0.1:{}", server.port);
    assert!(matches!(Redis::connect(&url, "").await.unwrap_err(), ConnectError::Away(_)));
}

#[tokio::test]
async fn nothing_is_there_is_away() {
    let mut server = Server::start();
    server.kill();
    assert!(matches!(Redis::connect(&server.url(), "").await.unwrap_err(), ConnectError::Away(_)));
}

#[tokio::test]
async fn a_paused_server_costs_each_call_a_second_at_most_and_nothing_is_sent_later() {
    let server = Server::start();
    let redis = server.connect().await;
    let add = |field: &'static str| {
        let mut command = redis::cmd("INCR");
        command.arg(field);
        command
    };
    redis.query::<()>(&add("early")).await.unwrap();
    let before = server_of(redis.state().borrow().clone());
    server.signal("-STOP");
    for _ in 0..3 {
        let began = Instant::now();
        assert!(matches!(redis.query::<()>(&add("doubtful")).await, Err(StorageError::Away)));
        assert!(began.elapsed() < LIMIT + Duration::from_millis(500), "{:?}", began.elapsed());
    }
    until(&redis, |state| *state == ConnectionState::Away).await;
    for _ in 0..1000 {
        assert!(matches!(redis.query::<()>(&add("later")).await, Err(StorageError::Away)));
    }
    server.signal("-CONT");
    let after = server_of(until(&redis, is_up).await);
    assert_eq!(after, before, "the same process with the same data");
    assert_eq!(redis.query::<Option<i64>>(redis::cmd("GET").arg("later")).await.unwrap(), None);
}

#[tokio::test]
async fn a_comeback_tells_whether_the_data_is_the_same() {
    let mut server = Server::start();
    let redis = server.connect().await;
    let first = server_of(redis.state().borrow().clone());
    for (forgets, name) in [(false, "with its data"), (true, "without")] {
        server.kill();
        until(&redis, |state| *state == ConnectionState::Away).await;
        assert!(matches!(redis.now().await, Err(StorageError::Away)));
        if forgets {
            server.forget();
        }
        server.launch();
        let next = server_of(until(&redis, is_up).await);
        assert_ne!(next.run_id, first.run_id, "{name}");
        assert_eq!(next.data == first.data, !forgets, "{name}");
    }
}

#[tokio::test]
async fn a_killed_connection_is_back_at_once() {
    let server = Server::start();
    let redis = server.connect().await;
    for _ in 0..3 {
        server.tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        let began = Instant::now();
        while redis.now().await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(2));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_listener_is_told_what_it_may_have_missed() {
    let server = Server::start();
    let redis = server.connect().await;
    let mut first = redis.listen("c".into());
    assert_eq!(first.next().await, Some(Heard::Missed));
    server.tell(&["PUBLISH", "c", "one"]);
    assert_eq!(first.next().await, Some(Heard::Message("one".into())));
    let mut second = redis.listen("c".into());
    assert_eq!(second.next().await, Some(Heard::Missed), "subscribed already");
    server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(first.next().await, Some(Heard::Missed));
    server.tell(&["PUBLISH", "c", "two"]);
    assert_eq!(first.next().await, Some(Heard::Message("two".into())));
    drop((first, second));
    let end = Instant::now() + Duration::from_secs(5);
    while server.tell(&["PUBSUB", "CHANNELS", "c"]) != redis::Value::Array(vec![]) {
        assert!(Instant::now() < end, "it is left when nobody listens");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut last = redis.listen("c".into());
    redis.close().await;
    while let Some(heard) = last.next().await {
        assert_eq!(heard, Heard::Missed);
    }
}

/// Three nodes that share the slots.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let nodes: Vec<_> = (0..3)
            .map(|_| {
                // The bus port is the port plus 10000, and must be one.
                loop {
                    let port = free_port();
                    if port < 55_000 {
                        break Server::on(port, &["--cluster-enabled", "yes", "--appendonly", "yes"]);
                    }
                }
            })
            .collect();
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        for node in &nodes {
            create.arg(format!("127.0.0.1:{}", node.port));
        }
        let created = create.arg("--cluster-yes").output().unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let agreed =
            |node: &Server| format!("{:?}", node.tell(&["CLUSTER", "INFO"])).contains("cluster_state:ok");
        let end = Instant::now() + Duration::from_secs(20);
        while !nodes.iter().all(agreed) {
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { nodes }
    }

    pub(crate) async fn connect(&self) -> Redis {
        self.nodes[0].connect().await
    }
}

#[tokio::test]
async fn a_cluster_is_found_and_serves_keys_of_every_node() {
    let mut cluster = Cluster::start();
    let redis = cluster.connect().await;
    assert!(redis.0.last_connection().is_cluster());
    let mut listener = redis.listen("c".into());
    assert_eq!(listener.next().await, Some(Heard::Missed));
    static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
        Script::new(
            "redis.call('INCR', KEYS[1]) redis.call('PUBLISH', 'c', KEYS[1]) return redis.call('GET', KEYS[1])",
        )
    });
    for tag in 0..30 {
        let key = redis.keys().session(tag);
        assert_eq!(redis.script(&SCRIPT).key(&key).run::<i64>().await.unwrap(), 1);
        assert_eq!(listener.next().await, Some(Heard::Message(key.into())));
    }
    assert!(cluster.nodes.iter().all(|node| !node.keys().is_empty()));
    let scanned = redis.scan(&redis.keys().glob().session("*")).await.unwrap();
    assert_eq!(scanned, (0..30).map(|tag| redis.keys().session(tag)).collect());
    // The node of the Pub/Sub connection is gone, so another one is used.
    let has_us = |node: &Server| node.tell(&["PUBSUB", "CHANNELS"]) != redis::Value::Array(vec![]);
    let ours = cluster.nodes.iter().position(has_us).unwrap();
    cluster.nodes[ours].kill();
    let other = (ours + 1) % 3;
    let end = Instant::now() + Duration::from_secs(20);
    let heard = async {
        while listener.next().await != Some(Heard::Missed) {}
        cluster.nodes[other].tell(&["PUBLISH", "c", "again"]);
        listener.next().await
    };
    let heard = tokio::time::timeout(Duration::from_secs(20), heard).await.expect("in time");
    assert_eq!(heard, Some(Heard::Message("again".into())));
    assert!(Instant::now() < end && is_up(&redis.state().borrow()), "the others still serve");
}

/// A name that moves to another server: open connections stay with the old one.
struct Name {
    port: u16,
    target: Arc<std::sync::Mutex<u16>>,
    /// The answer to every command except PING over open connections.
    refusal: watch::Sender<&'static str>,
    _tasks: Shutdown,
}

impl Name {
    async fn of(server: &Server) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(std::sync::Mutex::new(server.port));
        let (leads_to, tasks) = (target.clone(), Shutdown::new());
        let (connections, refusal) = (tasks.clone(), watch::Sender::new(""));
        let refusals = refusal.clone();
        tasks.spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = *leads_to.lock().unwrap();
                let mut refused = refusals.subscribe();
                connections.spawn(async move {
                    let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = refused.changed() => {
                            let refusal = *refused.borrow();
                            refuse(&mut client, refusal).await;
                        }
                    }
                });
            }
        });
        Self { port, target, refusal, _tasks: tasks }
    }

    /// Open connections get only this answer from now on.
    fn refuses(&self, line: &'static str) {
        self.refusal.send_replace(line);
    }

    fn moves_to(&self, server: &Server) {
        *self.target.lock().unwrap() = server.port;
    }

    async fn connect(&self) -> Redis {
        Redis::connect(&format!("redis://127.0.0.1:{}", self.port), "test:").await.unwrap().0
    }
}

async fn refuse(client: &mut tokio::net::TcpStream, line: &str) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut read = [0; 16_384];
    while let Ok(length @ 1..) = client.read(&mut read).await {
        // Each command is an array.
        let text = String::from_utf8_lossy(&read[..length]).into_owned();
        let mut commands: Vec<String> = Vec::new();
        for line in text.split("\r\n") {
            if line.strip_prefix('*').is_some_and(|count| count.parse::<u32>().is_ok()) {
                commands.push(String::new());
            } else if let Some(command) = commands.last_mut() {
                command.push_str(line);
            }
        }
        for command in commands {
            let answer = if command.contains("PING") { "+PONG" } else { line };
            if client.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// Publishes until a message arrives, and measures how long that takes.
async fn hears(server: &Server, listener: &mut Subscription, within: Duration) {
    let heard = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                _ = tick.tick() => drop(server.tell(&["PUBLISH", "test:{x}", "word"])),
                heard = listener.next() => if matches!(heard, Some(Heard::Message(_))) { return },
            }
        }
    };
    tokio::time::timeout(within, heard).await.expect("it hears what is published there");
}

#[tokio::test]
async fn a_primary_that_has_become_a_copy_is_left_for_whoever_has_its_name() {
    let (first, second) = (Server::start(), Server::start());
    let name = Name::of(&first).await;
    let redis = name.connect().await;
    let mut listener = redis.listen("test:{x}".to_owned());
    hears(&first, &mut listener, Duration::from_secs(20)).await;
    let before = server_of(redis.state().borrow().clone());
    let write = redis::cmd("INCR").arg("k").to_owned();
    redis.query::<()>(&write).await.unwrap();

    first.tell(&["REPLICAOF", "127.0.0.1", &second.port.to_string()]);
    assert!(matches!(redis.query::<()>(&write).await, Err(StorageError::Away)));
    until(&redis, |state| *state == ConnectionState::Away).await;
    // No other server has that name yet.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(*redis.state().borrow(), ConnectionState::Away);
    name.moves_to(&second);
    let after = server_of(until(&redis, is_up).await);
    assert_ne!(after.run_id, before.run_id);
    redis.query::<()>(&write).await.unwrap();
    hears(&second, &mut listener, Duration::from_secs(20)).await;
    let left = first.tell(&["CLIENT", "LIST", "TYPE", "PUBSUB"]);
    assert_eq!(redis::from_redis_value::<String>(left).unwrap().trim(), "", "both connections have left");
}

#[tokio::test]
async fn a_pubsub_connection_that_hears_nothing_of_what_is_published_is_made_anew() {
    let (first, second) = (Server::start(), Server::start());
    let name = Name::of(&first).await;
    let redis = name.connect().await;
    let mut listener = redis.listen("test:{x}".to_owned());
    hears(&first, &mut listener, Duration::from_secs(20)).await;
    // Only the Pub/Sub connection leads to another server, and stays alive.
    name.moves_to(&second);
    first.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    hears(&second, &mut listener, Duration::from_secs(20)).await;
    name.moves_to(&first);
    hears(&first, &mut listener, Duration::from_secs(20)).await;
    assert!(is_up(&redis.state().borrow()), "the command connection was well all the time");
}

/// Also in the words of other versions, and from states that a server is not easily brought into.
#[tokio::test]
async fn whatever_it_is_that_a_server_refuses_writes_with_it_is_left() {
    let servers = [Server::start(), Server::start()];
    let name = Name::of(&servers[0]).await;
    let redis = name.connect().await;
    let mut listener = redis.listen("test:{x}".to_owned());
    hears(&servers[0], &mut listener, Duration::from_secs(20)).await;
    for (turn, line) in [
        "-LOADING Redis is loading the dataset in memory",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "-CLUSTERDOWN Hash slot not served",
        "-ERR Error running script (call to f_4a): @user_script:5: @user_script: 5: -READONLY You can't write \
         against a read only replica.",
        "-NOREPLICAS Not enough good replicas to write. script: 4a, on @user_script:5.",
    ]
    .into_iter()
    .enumerate()
    {
        let next = &servers[(turn + 1) % 2];
        let before = server_of(redis.state().borrow().clone());
        name.moves_to(next);
        name.refuses(line);
        let elsewhere = |state: &ConnectionState| matches!(state, ConnectionState::Up(server) if server.run_id != before.run_id);
        until(&redis, elsewhere).await;
        redis.query::<()>(redis::cmd("INCR").arg("k")).await.unwrap();
        hears(next, &mut listener, Duration::from_secs(20)).await;
    }
}
