//! A real Redis, one server or a cluster of three, and what can happen to it: killed, paused, cut off, set back.
//!
//! `QRCAST_TEST_REDIS` names another build. The servers under test know nothing of what is here but the URL.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Value};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::proxy::free_port;
use super::relay::Relay;
use super::{eventually, signal};

/// One server on a port of its own, with a folder of its own. Dropping it kills it.
pub(crate) struct Redis {
    process: Option<Child>,
    program: OsString,
    port: String,
    arguments: Vec<String>,
    folder: TempDir,
}

/// What a Redis had stored at one moment.
pub(crate) struct Copy(TempDir);

impl Redis {
    /// With an append-only file that is written at each command, so that a restart has everything.
    pub(crate) async fn start() -> Self {
        let mut redis = Self::asleep();
        redis.launch().await;
        redis
    }

    /// Not started yet: there is a URL, and nobody behind it.
    pub(crate) fn asleep() -> Self {
        let program = std::env::var_os("QRCAST_TEST_REDIS").unwrap_or_else(|| "redis-server".into());
        Self::of(program, free_port(), &[])
    }

    /// Another program that speaks the same.
    pub(crate) async fn start_program(program: &str) -> Self {
        let mut redis = Self::of(program.into(), free_port(), &[]);
        redis.launch().await;
        redis
    }

    fn of(program: OsString, port: String, more: &[&str]) -> Self {
        let usual = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
        let arguments = usual.iter().chain(more).map(|argument| (*argument).to_owned()).collect();
        Self { process: None, program, port, arguments, folder: tempfile::tempdir().unwrap() }
    }

    /// Starts the process (again); returns when it answers.
    pub(crate) async fn launch(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(["--bind", "127.0.0.1", "--port", &self.port, "--dir"]).arg(self.folder.path());
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        self.process = Some(command.spawn().expect("redis-server is installed: scripts/test does it"));
        // While it still reads its file it refuses every command.
        eventually("Redis to answer", || async { self.try_tell::<()>(&["DBSIZE"]).await.is_ok() }).await;
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> &str {
        &self.port
    }

    /// It is a copy of this port's from now on, whether or not anybody is there: it takes no writes.
    pub(crate) async fn copies(&self, port: &str) {
        self.tell::<()>(&["REPLICAOF", "127.0.0.1", port]).await;
    }

    /// It is nobody's copy from now on.
    pub(crate) async fn takes_writes(&self) {
        self.tell::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    }

    pub(crate) async fn sets(&self, setting: &str, value: &str) {
        self.tell::<()>(&["CONFIG", "SET", setting, value]).await;
    }

    /// One command; its answer.
    pub(crate) async fn tell<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_tell(words).await.unwrap()
    }

    /// The same, where a refusal is an answer.
    pub(crate) async fn try_tell<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let patience = Some(Duration::from_secs(10));
        let patient =
            AsyncConnectionConfig::new().set_connection_timeout(patience).set_response_timeout(patience);
        let client = Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
        let mut command = Cmd::new();
        command.arg(words);
        // A server that still loads may have closed the connection with its answer.
        command.query_async(&mut connection).await
    }

    /// All keys there are.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.tell(&["KEYS", "*"]).await;
        keys.sort();
        keys
    }

    /// The keys whose name or content holds this text.
    pub(crate) async fn mentions(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for key in self.keys().await {
            let kind: String = self.tell(&["TYPE", &key]).await;
            let content: Value = match kind.as_str() {
                "hash" => self.tell(&["HGETALL", &key]).await,
                "list" => self.tell(&["LRANGE", &key, "0", "-1"]).await,
                "set" => self.tell(&["SMEMBERS", &key]).await,
                "stream" => self.tell(&["XRANGE", &key, "-", "+"]).await,
                "string" => self.tell(&["GET", &key]).await,
                "zset" => self.tell(&["ZRANGE", &key, "0", "-1"]).await,
                // Gone since.
                _ => continue,
            };
            if key.contains(text) || format!("{content:?}").contains(text) {
                found.push(key);
            }
        }
        found
    }

    /// SIGSTOP: connections stay, nothing is answered.
    pub(crate) fn freeze(&self) {
        signal(self.process.as_ref().unwrap().id().unwrap(), "-STOP");
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        signal(self.process.as_ref().unwrap().id().unwrap(), "-CONT");
    }

    /// `CLIENT PAUSE`: every command waits so long, and is carried out then.
    pub(crate) async fn holds_everyone(&self, pause: Duration) {
        self.tell::<()>(&["CLIENT", "PAUSE", &pause.as_millis().to_string(), "ALL"]).await;
    }

    /// Cuts the Pub/Sub connections and no others; how many there were.
    pub(crate) async fn cuts_pubsub(&self) -> usize {
        self.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]).await
    }

    /// `kill -9`. What is stored stays.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await.unwrap();
        }
    }

    /// `kill -9`, and what was stored is gone.
    pub(crate) async fn forget(&mut self) {
        self.kill().await;
        self.folder = tempfile::tempdir().unwrap();
    }

    /// What is stored now, as a backup would have it.
    pub(crate) fn copy(&self) -> Copy {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(self.folder.path(), copy.path());
        Copy(copy)
    }

    /// `kill -9`, and back with what a copy has.
    pub(crate) async fn restore(&mut self, copy: Copy) {
        self.kill().await;
        self.folder = copy.0;
        self.launch().await;
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A Redis and its copy behind one name, which moves from the one to the other while every connection stays where it is.
pub(crate) struct Pair {
    pub(crate) first: Redis,
    pub(crate) second: Redis,
    relay: Relay,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        // Nobody restarts them, and two that flush the disk at each command are slow where it is.
        let [mut first, mut second] =
            [(); 2].map(|()| Redis::of(Redis::asleep().program, free_port(), &["--appendonly", "no"]));
        first.launch().await;
        second.launch().await;
        second.copies(first.port()).await;
        eventually("the copy to be made", || async {
            second.tell::<String>(&["INFO", "replication"]).await.contains("master_link_status:up")
        })
        .await;
        let relay = Relay::to(first.port()).await;
        Self { first, second, relay }
    }

    /// The name, at the first to begin with.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.relay.port())
    }

    /// The second takes the writes, and the first copies it.
    pub(crate) async fn fails_over(&self) {
        self.second.takes_writes().await;
        self.first.copies(self.second.port()).await;
    }

    /// Whoever connects from now on comes to the second.
    pub(crate) fn name_moves(&self) {
        self.relay.leads_to(self.second.port());
    }
}

/// Slots of a cluster.
const SLOTS: usize = 16_384;
/// A node's second port is the first and this.
const BUS: u16 = 10_000;

/// Three nodes that share the slots.
pub(crate) struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    pub(crate) async fn start() -> Self {
        let mut nodes = Vec::new();
        for number in 0..3 {
            let mut node = Self::node();
            node.launch().await;
            let first = (number * SLOTS / 3).to_string();
            let last = ((number + 1) * SLOTS / 3 - 1).to_string();
            node.tell::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
            node.tell::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await;
            nodes.push(node);
        }
        for node in &nodes[1..] {
            nodes[0].tell::<()>(&["CLUSTER", "MEET", "127.0.0.1", &node.port]).await;
        }
        let cluster = Self { nodes };
        for node in &cluster.nodes {
            eventually("the nodes to agree", || async {
                let info: String = node.tell(&["CLUSTER", "INFO"]).await;
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
            .await;
        }
        cluster
    }

    fn node() -> Redis {
        let port = std::iter::repeat_with(free_port)
            .find(|port| port.parse::<u16>().unwrap().checked_add(BUS).is_some())
            .unwrap();
        let program = Redis::asleep().program;
        Redis::of(program, port, &["--cluster-enabled", "yes"])
    }

    /// Any node will do.
    pub(crate) fn url(&self) -> String {
        self.nodes[0].url()
    }

    /// Each node and the part of the slots that it serves.
    pub(crate) fn nodes(&self) -> &[Redis] {
        &self.nodes
    }
}
