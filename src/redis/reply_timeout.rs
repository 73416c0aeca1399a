//! Timeout of a reply that blames Redis for its own time only.
//!
//! While this process is short of processor time, a reply waits in the socket, and a timer would
//! fire before the reply is read. So the timeout is a sum of slices, and a slice that ended late
//! does not count.

use std::{future::Future, pin::pin, time::Duration};

use tokio::time::{Instant, timeout};

use super::error::RedisError;

/// Slices of a timeout.
const SLICES: u32 = 4;
/// Slices after which the wait ends, however late they were.
const MAX_SLICES: u32 = 16;

/// Waits for a reply for at least `time`.
///
/// # Errors
/// [`RedisError::Timeout`] if no reply arrived, and the error of the reply.
pub(super) async fn within<T>(
    time: Duration,
    reply: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    let (mut reply, slice) = (pin!(reply), time / SLICES);
    let mut counted = 0;
    for _ in 0..MAX_SLICES {
        let began = Instant::now();
        if let Ok(reply) = timeout(slice, &mut reply).await {
            return reply;
        }
        counted += u32::from(began.elapsed() <= 2 * slice);
        if counted == SLICES {
            break;
        }
    }
    Err(RedisError::Timeout(time))
}

#[cfg(test)]
mod tests {
    use std::{future::pending, thread};

    use tokio::{sync::oneshot, task::yield_now, time::sleep};

    use super::*;

    const TIME: Duration = Duration::from_millis(40);

    #[tokio::test]
    async fn reply_within_the_time_is_returned() {
        assert_eq!(within(TIME, async { Ok(7) }).await, Ok(7));
        let error = RedisError::Unreachable(String::new());
        let reply = async { Err::<(), _>(error.clone()) };
        assert_eq!(within(TIME, reply).await, Err(error.clone()));
    }

    #[tokio::test]
    async fn silence_is_a_timeout() {
        let silence = within(TIME, pending::<Result<(), _>>()).await;
        assert_eq!(silence, Err(RedisError::Timeout(TIME)));
    }

    #[tokio::test]
    async fn time_in_which_this_process_is_blocked_does_not_count() {
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            sleep(TIME / 8).await;
            // A reply passes through several tasks.
            for _ in 0..10 {
                yield_now().await;
            }
            sender.send(()).unwrap();
        });
        let reply = async { receiver.await.map_err(|_| RedisError::Timeout(TIME)) };
        let blocked = async {
            yield_now().await;
            thread::sleep(4 * TIME);
        };
        let (reply, ()) = tokio::join!(within(TIME, reply), blocked);
        assert_eq!(reply, Ok(()));
    }
}
