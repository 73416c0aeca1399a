//! Calls that are made at the same time go to the server together: one write, and one answer to
//! wait for.
//!
//! Whoever has something to send puts it into the connection's queue, and its task sends what has
//! gathered there. Before it does, it lets others have their turn once: an answer to many calls
//! wakes many requests, and most of them have the next call to make. A call that is alone waits for
//! nobody. Batches do not wait for one another's answers.

use redis::{
    Cmd, Pipeline, RedisError, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::sync::{mpsc, oneshot};

/// Calls that are about to be sent; more of them wait for room.
const QUEUE: usize = 1000;

/// Calls that are sent together at most.
const LARGEST: usize = 64;

/// A connection. It ends with its last clone.
#[derive(Clone)]
pub(super) struct Batches {
    queue: mpsc::Sender<Waiting>,
}

/// A call, and who waits for its answer.
struct Waiting {
    command: Cmd,
    answer: oneshot::Sender<RedisResult<Value>>,
}

impl Batches {
    pub(super) fn new(connection: MultiplexedConnection) -> Batches {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(send_all(connection, waiting));
        Batches { queue }
    }

    pub(super) async fn send(&self, command: Cmd) -> RedisResult<Value> {
        let (answer, answered) = oneshot::channel();
        // The task goes on for as long as there is anybody who could send.
        let _ = self.queue.send(Waiting { command, answer }).await;
        answered.await.unwrap_or_else(|_| Err(lost()))
    }
}

async fn send_all(connection: MultiplexedConnection, mut waiting: mpsc::Receiver<Waiting>) {
    while let Some(first) = waiting.recv().await {
        tokio::task::yield_now().await;
        let mut batch = Pipeline::with_capacity(LARGEST);
        let mut answers = vec![first.answer];
        batch.add_command(first.command);
        while answers.len() < LARGEST
            && let Ok(next) = waiting.try_recv()
        {
            batch.add_command(next.command);
            answers.push(next.answer);
        }
        tokio::spawn(ask(connection.clone(), batch, answers));
    }
}

async fn ask(
    mut connection: MultiplexedConnection,
    batch: Pipeline,
    waiting: Vec<oneshot::Sender<RedisResult<Value>>>,
) {
    // Who does not wait any more, since its time is over, needs no answer.
    match connection
        .req_packed_commands(&batch, 0, waiting.len())
        .await
    {
        Ok(values) => waiting
            .into_iter()
            .zip(values)
            .for_each(|(one, value)| drop(one.send(Ok(value)))),
        Err(error) => waiting
            .into_iter()
            .for_each(|one| drop(one.send(Err(error.clone())))),
    }
}

fn lost() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into()
}
