//! Future of a call in flight, which runs to its end also when its caller is cancelled.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

/// Call in flight. It runs in the caller's task. When it is dropped before its end, it continues in
/// a task of its own, which costs nothing in the usual case.
pub(super) struct InFlight<T: Send + 'static> {
    /// `None` after the end.
    call: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    runtime: Handle,
}

impl<T: Send + 'static> InFlight<T> {
    pub(super) fn new(
        call: impl Future<Output = T> + Send + 'static,
        runtime: &Handle,
    ) -> InFlight<T> {
        InFlight {
            call: Some(Box::pin(call)),
            runtime: runtime.clone(),
        }
    }
}

impl<T: Send + 'static> Future for InFlight<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Not polled after its end, as any future.
        let Some(call) = &mut self.call else {
            return Poll::Pending;
        };
        let polled = call.as_mut().poll(cx);
        if polled.is_ready() {
            self.call = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for InFlight<T> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.runtime.spawn(async move { drop(call.await) });
        }
    }
}
