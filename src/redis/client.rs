//! A few connections that all requests share: many requests are on the way on each at a time, and
//! every one takes its turn.
//!
//! Nothing here waits for a connection: a request finds one or fails at once, and the probe (see
//! [`watch`](super::watch)) makes new ones. So no request pays for more than its own timeout,
//! whatever the way to the server is like.

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

use super::{batch::Batches, error::RedisError, script::Call, target::Target};

/// Connecting may take longer than a request, since no request waits for it.
const CONNECT: Duration = Duration::from_secs(2);

#[derive(Clone)]
enum Connection {
    Server(Batches),
    Cluster(ClusterConnection),
}

pub(super) struct Client {
    target: Target,
    connections: Vec<RwLock<Option<Connection>>>,
    turn: AtomicUsize,
    timeout: Duration,
}

impl Client {
    pub(super) fn new(target: Target, connections: usize, timeout: Duration) -> Client {
        install_cryptography();
        let connections = (0..connections.max(1)).map(|_| RwLock::new(None)).collect();
        Client {
            target,
            connections,
            turn: AtomicUsize::new(0),
            timeout,
        }
    }

    /// Makes all connections anew.
    pub(super) async fn connect(&self) -> Result<(), RedisError> {
        for place in &self.connections {
            let connection = within(CONNECT, self.connection()).await?;
            *place.write().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        }
        Ok(())
    }

    /// Calls a script, within the timeout as a whole.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Value, RedisError> {
        let mut connection = self.next()?;
        within(self.timeout, async {
            match connection.send(call.by_hash()).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    Ok(connection.send(&call.by_text()).await?)
                }
                answer => Ok(answer?),
            }
        })
        .await
    }

    /// Sends a command, within the timeout.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        let mut connection = self.next()?;
        within(self.timeout, async { Ok(connection.send(command).await?) }).await
    }

    /// A connection of its own that listens to a channel.
    pub(super) async fn listen(&self, channel: &[u8]) -> Result<PubSub, RedisError> {
        within(CONNECT, async {
            let client = match self.target.listening() {
                Some(url) => self.target.client(url)?,
                None => self.target.sentinel()?.async_get_client().await?,
            };
            let mut listener = client.get_async_pubsub().await?;
            listener.subscribe(channel).await?;
            Ok(listener)
        })
        .await
    }

    async fn connection(&self) -> Result<Connection, RedisError> {
        // Time limits are set around every call.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None);
        Ok(match &self.target {
            Target::Server(url) => {
                let client = self.target.client(url)?;
                Connection::Server(Batches::new(
                    client
                        .get_multiplexed_async_connection_with_config(&config)
                        .await?,
                ))
            }
            Target::Sentinel { .. } => Connection::Server(Batches::new(
                self.target
                    .sentinel()?
                    .get_async_connection_with_config(&config)
                    .await?,
            )),
            Target::Cluster(nodes) => {
                Connection::Cluster(self.target.cluster(nodes)?.get_async_connection().await?)
            }
        })
    }

    fn next(&self) -> Result<Connection, RedisError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let place = self.connections[turn]
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        place
            .clone()
            .ok_or_else(|| RedisError::Unreachable("not connected yet".to_owned()))
    }
}

impl Connection {
    async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        let answer = match self {
            Connection::Server(connection) => connection.send(command.clone()).await?,
            Connection::Cluster(connection) => connection.req_packed_command(command).await?,
        };
        match answer {
            Value::ServerError(error) => Err(error.into()),
            answer => Ok(answer),
        }
    }
}

async fn within<T>(
    time: Duration,
    future: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    timeout(time, future)
        .await
        .unwrap_or(Err(RedisError::Timeout(time)))
}

/// The redis crate asks rustls for the process's provider of cryptography and brings none itself.
/// One that the program has chosen stays.
fn install_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else was faster: that one will do.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}
