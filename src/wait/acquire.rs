//! Future of a caller that takes tokens, at once or after a wait.
//!
//! Written by hand, so that the poll of a caller that need not wait is inlined: the compiler does not
//! inline that of an async block with the state of a wait, and its result would be copied.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::Reservable;
use crate::decision::{Decision, Outcome, Refused};

/// Arguments of a call.
#[derive(Clone, Copy)]
pub(super) struct Call<T, M> {
    pub(super) target: T,
    pub(super) timer: M,
    pub(super) cost: u32,
    pub(super) max_wait: Option<Duration>,
}

pin_project! {
    /// Future that takes the tokens of a call. When the caller has to wait, `begin` creates the future
    /// of the wait.
    #[project = StateOfAcquire]
    pub(super) enum Acquire<T, M, B, W> {
        First { call: Call<T, M>, begin: B },
        Waiting { #[pin] waiting: W },
        Completed,
    }
}

impl<T, M, B, W> Future for Acquire<T, M, B, W>
where
    T: Reservable,
    M: Copy,
    B: Copy + FnOnce(Call<T, M>) -> W,
    W: Future<Output = Result<Decision, Refused>>,
{
    type Output = Result<Decision, Refused>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let StateOfAcquire::First { call, .. } = self.as_mut().project()
            && let Some(decision) = call.target.take_on_fast_path(call.cost)
            && decision.is_allowed()
        {
            self.set(Acquire::Completed);
            return Poll::Ready(Ok(decision));
        }
        poll_out_of_line(self, context)
    }
}

/// Polls a future that could not take tokens on the fast path. Out of line: a caller that need not
/// wait runs a small function.
///
/// # Panics
/// When a future that is ready is polled again, as any async block does.
#[cold]
#[inline(never)]
#[expect(clippy::panic, reason = "documented: the caller's error")]
fn poll_out_of_line<T, M, B, W>(
    mut acquire: Pin<&mut Acquire<T, M, B, W>>,
    context: &mut Context<'_>,
) -> Poll<W::Output>
where
    T: Reservable,
    M: Copy,
    B: Copy + FnOnce(Call<T, M>) -> W,
    W: Future<Output = Result<Decision, Refused>>,
{
    if let StateOfAcquire::First { call, begin } = acquire.as_mut().project() {
        let (call, begin) = (*call, *begin);
        if let Some(decision) = call.target.take_unless_queued(call.cost)
            && decision.outcome() != Outcome::Refused
        {
            acquire.set(Acquire::Completed);
            return Poll::Ready(decision.ok());
        }
        let waiting = begin(call);
        acquire.set(Acquire::Waiting { waiting });
    }
    match acquire.project() {
        StateOfAcquire::Waiting { waiting } => waiting.poll(context),
        _ => panic!("a future of tollgate polled after completion"),
    }
}
