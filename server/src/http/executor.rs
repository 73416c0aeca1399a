//! Tasks of HTTP/2 streams, which the stall clock can end.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use hyper::rt::Executor;

use super::{activity::Activity, unread::StreamState};

tokio::task_local! {
    static STREAM: Arc<StreamState>;
}

/// Returns the HTTP/2 stream of the current task. HTTP/1 has no task for a request.
pub(super) fn current_stream() -> Option<Arc<StreamState>> {
    STREAM.try_with(Arc::clone).ok()
}

/// Executor of the HTTP/2 streams of one connection.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor(Arc<Activity>);

impl StreamExecutor {
    pub(super) fn new(activity: Arc<Activity>) -> StreamExecutor {
        StreamExecutor(activity)
    }
}

/// Marks a stream as finished after its future has been dropped.
struct FinishGuard(Arc<StreamState>);

impl Drop for FinishGuard {
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        let activity = Arc::clone(&self.0);
        let state = Arc::new(StreamState::new(Arc::clone(activity.memory())));
        tokio::spawn(async move {
            let guard = FinishGuard(state);
            let state = &guard.0;
            let mut future = pin!(STREAM.scope(Arc::clone(state), future));
            poll_fn(|cx| {
                // Dropping the future resets the stream.
                if state.poll_cancelled(cx) {
                    return Poll::Ready(());
                }
                let polled = future.as_mut().poll(cx).map(drop);
                if state.has_unread() {
                    activity.unread_streams().add(state);
                }
                polled
            })
            .await;
        });
    }
}
