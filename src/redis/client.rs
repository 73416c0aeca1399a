//! Connection pool: a few multiplexed connections in round-robin order, many requests in flight on
//! each.
//!
//! No request waits for a connection: it finds one or fails at once, and the probe (see
//! [`probe`](super::probe)) opens new ones. So a request never waits longer than its own timeout,
//! whatever the state of the network.

use std::{
    future::Future,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, PubSub},
    cluster_async::ClusterConnection,
};
use tokio::time::timeout;

use super::{
    batch::BatchedConnection,
    error::RedisError,
    reply_timeout::within,
    script::Call,
    tls,
    topology::{self, Topology},
};

/// Connect timeout. It may exceed the request timeout: no request waits for a connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone)]
enum Connection {
    Server(BatchedConnection),
    Cluster(ClusterConnection),
}

pub(super) struct Client {
    topology: Topology,
    /// `None` before the first connect.
    connections: Vec<RwLock<Option<Connection>>>,
    next: AtomicUsize,
    /// Time to wait for a reply.
    pub(super) timeout: Duration,
}

impl Client {
    /// Makes a client without connections. At least one connection is opened later.
    pub(super) fn new(topology: Topology, connections: usize, timeout: Duration) -> Client {
        if topology.uses_tls() {
            tls::ensure_provider();
        }
        let connections = (0..connections.max(1)).map(|_| RwLock::new(None)).collect();
        Client {
            topology,
            connections,
            next: AtomicUsize::new(0),
            timeout,
        }
    }

    /// Returns true if both clients reach the same server or cluster.
    pub(super) fn shares_server(&self, other: &Client) -> bool {
        self.topology == other.topology
    }

    /// Returns true if a script can use the keys of one slot only.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.topology, Topology::Cluster(_))
    }

    /// Replaces all connections by new ones.
    pub(super) async fn connect(&self) -> Result<(), RedisError> {
        for slot in &self.connections {
            let connection = with_timeout(CONNECT_TIMEOUT, self.open()).await?;
            *slot.write().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        }
        Ok(())
    }

    /// Calls a script. The timeout covers both round trips if the server does not know the script.
    pub(super) async fn call(&self, call: &Call) -> Result<Value, RedisError> {
        let mut connection = self.connection()?;
        within(self.timeout, async {
            let reply = match connection.send(call.by_hash()).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    connection.send(&call.by_source()).await
                }
                reply => reply,
            };
            reply.map_err(RedisError::from_client)
        })
        .await
    }

    /// Sends a command, within the timeout.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        let mut connection = self.connection()?;
        within(self.timeout, async {
            let reply = connection.send(command).await;
            reply.map_err(RedisError::from_client)
        })
        .await
    }

    /// Opens a separate connection that is subscribed to a channel.
    pub(super) async fn subscribe(&self, channel: &[u8]) -> Result<PubSub, RedisError> {
        with_timeout(CONNECT_TIMEOUT, async {
            let client = match self.topology.pubsub_url() {
                Some(url) => topology::client(url)?,
                None => {
                    let mut sentinel = self.topology.sentinel_client()?;
                    let client = sentinel.async_get_client().await;
                    client.map_err(RedisError::from_client)?
                }
            };
            let pubsub = client.get_async_pubsub().await;
            let mut pubsub = pubsub.map_err(RedisError::from_client)?;
            let subscribed = pubsub.subscribe(channel).await;
            subscribed.map_err(RedisError::from_client)?;
            Ok(pubsub)
        })
        .await
    }

    async fn open(&self) -> Result<Connection, RedisError> {
        // Timeouts of the redis crate are off: every call here has its own.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None);
        let opened = match &self.topology {
            Topology::Single(url) => topology::client(url)?
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .map(|connection| Connection::Server(BatchedConnection::new(connection))),
            Topology::Sentinel { .. } => self
                .topology
                .sentinel_client()?
                .get_async_connection_with_config(&config)
                .await
                .map(|connection| Connection::Server(BatchedConnection::new(connection))),
            Topology::Cluster(nodes) => topology::cluster_client(nodes)?
                .get_async_connection()
                .await
                .map(Connection::Cluster),
        };
        opened.map_err(RedisError::from_client)
    }

    /// Returns the next connection in round-robin order.
    fn connection(&self) -> Result<Connection, RedisError> {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let slot = self.connections[index]
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        slot.clone()
            .ok_or_else(|| RedisError::Unreachable("not connected yet".to_owned()))
    }
}

impl Connection {
    async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        let reply = match self {
            Connection::Server(connection) => connection.send(command.clone()).await?,
            Connection::Cluster(connection) => connection.req_packed_command(command).await?,
        };
        match reply {
            Value::ServerError(error) => Err(error.into()),
            reply => Ok(reply),
        }
    }
}

async fn with_timeout<T>(
    time: Duration,
    future: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    timeout(time, future)
        .await
        .unwrap_or(Err(RedisError::Timeout(time)))
}
