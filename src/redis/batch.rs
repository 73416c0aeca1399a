//! Batching of concurrent commands: one write and one read for many of them.
//!
//! Callers push commands into the connection's queue, and its task sends everything queued as one
//! pipeline. Before it does, the task yields once: a reply to many commands wakes many requests,
//! and most of them have the next command to send. A single command waits for no other. Batches do
//! not wait for one another's replies.

use redis::{
    Cmd, Pipeline, RedisError, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::sync::{mpsc, oneshot};

/// Capacity of the queue. When it is full, callers wait.
const QUEUE: usize = 1000;

/// Maximum number of commands in a batch.
const MAX_BATCH: usize = 64;

/// Connection that batches commands. It closes when its last clone is dropped.
#[derive(Clone)]
pub(super) struct BatchedConnection {
    queue: mpsc::Sender<QueuedCommand>,
}

/// Command in the queue, and the channel for its reply.
struct QueuedCommand {
    command: Cmd,
    reply: oneshot::Sender<RedisResult<Value>>,
}

impl BatchedConnection {
    pub(super) fn new(connection: MultiplexedConnection) -> BatchedConnection {
        let (queue, queued) = mpsc::channel(QUEUE);
        tokio::spawn(send_queued(connection, queued));
        BatchedConnection { queue }
    }

    pub(super) async fn send(&self, command: Cmd) -> RedisResult<Value> {
        let (reply, replied) = oneshot::channel();
        // The task runs until the last sender is dropped. If the runtime has dropped it, the reply
        // channel is closed.
        let _ = self.queue.send(QueuedCommand { command, reply }).await;
        replied.await.unwrap_or_else(|_| Err(connection_aborted()))
    }
}

async fn send_queued(connection: MultiplexedConnection, mut queue: mpsc::Receiver<QueuedCommand>) {
    while let Some(first) = queue.recv().await {
        tokio::task::yield_now().await;
        let mut batch = Pipeline::with_capacity(MAX_BATCH);
        let mut replies = vec![first.reply];
        batch.add_command(first.command);
        while replies.len() < MAX_BATCH
            && let Ok(next) = queue.try_recv()
        {
            batch.add_command(next.command);
            replies.push(next.reply);
        }
        tokio::spawn(send_batch(connection.clone(), batch, replies));
    }
}

async fn send_batch(
    mut connection: MultiplexedConnection,
    batch: Pipeline,
    replies: Vec<oneshot::Sender<RedisResult<Value>>>,
) {
    // A send fails when the caller has timed out. Such a caller needs no reply.
    match connection
        .req_packed_commands(&batch, 0, replies.len())
        .await
    {
        Ok(values) => replies
            .into_iter()
            .zip(values)
            .for_each(|(reply, value)| drop(reply.send(Ok(value)))),
        Err(error) => replies
            .into_iter()
            .for_each(|reply| drop(reply.send(Err(error.clone())))),
    }
}

fn connection_aborted() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into()
}
