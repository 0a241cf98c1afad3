//! How to reach Redis: its address, whether it is a cluster, and a connection of either kind.

use parking_lot::Mutex;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo,
    ProtocolVersion, RedisError,
};

use super::{ConnectError, LIMIT, failure};

/// The address of Redis. It contains the password, so it has no `Debug`.
pub(super) struct Target {
    first: ConnectionInfo,
    /// On a cluster, its nodes, one of which gets the Pub/Sub connection. The list is replaced as a whole.
    nodes: Option<Mutex<Vec<ConnectionInfo>>>,
}

/// The command connection. Clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    /// A connection to a single server.
    Single(MultiplexedConnection),
    /// A connection to each node of a cluster; it finds new nodes by itself.
    Cluster(ClusterConnection),
}

impl Target {
    /// The server that a URL names. Nothing is opened yet.
    pub(super) fn alone(url: &str) -> Result<Self, ConnectError> {
        let info = url.into_connection_info().map_err(|_| ConnectError::Url)?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        // Commands are small and each is waited for, so they must be sent at once.
        let first =
            info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true));
        Ok(Self { first, nodes: None })
    }

    /// Host and port, for people.
    pub(super) fn address(&self) -> String {
        self.first.addr().to_string()
    }

    /// Connects to the server of this URL and asks whether it is a cluster.
    pub(super) async fn find(url: &str) -> Result<(Self, Connection), ConnectError> {
        let alone = Self::alone(url)?;
        let refused = |error: RedisError| {
            if failure::is_refusal(&error) {
                ConnectError::Refused
            } else {
                ConnectError::Away(failure::explain(&error))
            }
        };
        let mut connection = alone.connect().await.map_err(refused)?;
        // A server that refuses the question is taken for a single one.
        let said = connection.query::<String>(redis::cmd("INFO").arg("cluster")).await.unwrap_or_default();
        if !said.contains("cluster_enabled:1") {
            return Ok((alone, connection));
        }
        let nodes = Some(Mutex::new(vec![alone.first.clone()]));
        let cluster = Self { first: alone.first, nodes };
        let mut connection = cluster.connect().await.map_err(refused)?;
        cluster.learn_nodes(&mut connection).await;
        Ok((cluster, connection))
    }

    /// Each node of the cluster that this server belongs to, as a server of its own.
    pub(super) async fn peers(&self, connection: &mut Connection) -> Vec<Self> {
        let said = connection.query::<String>(redis::cmd("CLUSTER").arg("NODES")).await.unwrap_or_default();
        said.lines().filter_map(|line| Some(Self { first: self.node(line)?, nodes: None })).collect()
    }

    /// A new command connection.
    pub(super) async fn connect(&self) -> Result<Connection, RedisError> {
        let Some(nodes) = &self.nodes else {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(2 * LIMIT))
                .set_response_timeout(Some(2 * LIMIT));
            let client = Client::open(self.first.clone())?;
            return Ok(Connection::Single(
                client.get_multiplexed_async_connection_with_config(&config).await?,
            ));
        };
        let nodes = nodes.lock().clone();
        let client = ClusterClient::builder(nodes)
            .connection_timeout(LIMIT)
            .response_timeout(LIMIT)
            .tcp_settings(TcpSettings::default().set_nodelay(true))
            .retries(3)
            .min_retry_wait(20)
            .max_retry_wait(200)
            .build()?;
        let connect = tokio::time::timeout(5 * LIMIT, client.get_async_connection());
        let connection = connect
            .await
            .map_err(|_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))?;
        Ok(Connection::Cluster(connection?))
    }

    /// A new Pub/Sub connection. On a cluster each attempt uses the next node, because a published message reaches all
    /// nodes.
    pub(super) async fn pubsub(&self, attempt: usize) -> Result<PubSub, RedisError> {
        let info = match &self.nodes {
            None => self.first.clone(),
            Some(nodes) => {
                let nodes = nodes.lock();
                nodes.get(attempt % nodes.len().max(1)).unwrap_or(&self.first).clone()
            }
        };
        let client = Client::open(info)?;
        match tokio::time::timeout(2 * LIMIT, client.get_async_pubsub()).await {
            Ok(connection) => connection,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// Reads the nodes' addresses from the cluster; keeps the old ones if it does not answer.
    pub(super) async fn learn_nodes(&self, connection: &mut Connection) {
        let Some(nodes) = &self.nodes else { return };
        let Ok(said) = connection.query::<String>(redis::cmd("CLUSTER").arg("NODES")).await else { return };
        let found: Vec<_> = said.lines().filter_map(|line| self.node(line)).collect();
        if !found.is_empty() {
            *nodes.lock() = found;
        }
    }

    /// `<id> <ip>:<port>@<bus port>[,<host name>] <flags> ...`
    fn node(&self, line: &str) -> Option<ConnectionInfo> {
        let mut words = line.split(' ');
        let (address, flags) = (words.nth(1)?, words.next()?);
        if flags.contains("fail") || flags.contains("noaddr") || flags.contains("handshake") {
            return None;
        }
        let (at, name) = address
            .split_once(',')
            .map_or((address, ""), |(at, names)| (at, names.split(',').next().unwrap_or_default()));
        let (ip, port) = at.split('@').next()?.rsplit_once(':')?;
        let host = if name.is_empty() || name == "?" { ip } else { name }.to_owned();
        let port = port.parse().ok()?;
        let address = match self.first.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Some(self.first.clone().set_addr(address))
    }
}

impl Connection {
    /// Sends a command and waits; the caller sets the limit.
    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        match self {
            Self::Single(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }

    /// Checks that Redis answers; on a cluster one node is enough. Calls about sessions of a node that is down fail one
    /// by one.
    pub(super) async fn ping(&mut self) -> Result<(), RedisError> {
        let ping = redis::cmd("PING");
        match self {
            Self::Single(connection) => ping.query_async(connection).await,
            Self::Cluster(connection) => {
                let all = (MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::OneSucceeded));
                connection.route_command(ping, RoutingInfo::MultiNode(all)).await.map(drop)
            }
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}
