//! Future of a caller that takes tokens, at once or after a wait.
//!
//! Written by hand, so that the poll of a caller that need not wait is inlined: the compiler does not
//! inline that of an async block with the state of a wait, and its result would be copied.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::decision::{Decision, Refused};

pin_project! {
    /// Future that takes tokens by `take`, which returns `None` when the caller has to wait. Then
    /// `begin` creates the future of the wait.
    pub(super) struct Acquire<T, B, W> {
        first: Option<(T, B)>,
        #[pin]
        waiting: Option<W>,
    }
}

impl<T, B, W> Acquire<T, B, W> {
    #[inline(always)]
    pub(super) fn new(take: T, begin: B) -> Acquire<T, B, W> {
        Acquire {
            first: Some((take, begin)),
            waiting: None,
        }
    }
}

impl<T, B, W> Future for Acquire<T, B, W>
where
    T: FnOnce() -> Option<Result<Decision, Refused>>,
    B: FnOnce() -> W,
    W: Future<Output = Result<Decision, Refused>>,
{
    type Output = Result<Decision, Refused>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some((take, begin)) = this.first.take() {
            if let Some(taken) = take() {
                return Poll::Ready(taken);
            }
            this.waiting.set(Some(begin()));
        }
        poll_out_of_line(this.waiting, context)
    }
}

/// Polls the future of the wait. Out of line: a caller that need not wait runs a small function.
///
/// # Panics
/// When a future that is ready is polled again, as any async block does.
#[cold]
#[inline(never)]
#[expect(clippy::panic, reason = "documented: the caller's error")]
fn poll_out_of_line<W: Future>(
    waiting: Pin<&mut Option<W>>,
    context: &mut Context<'_>,
) -> Poll<W::Output> {
    match waiting.as_pin_mut() {
        Some(waiting) => waiting.poll(context),
        None => panic!("a future of tollgate polled after completion"),
    }
}
