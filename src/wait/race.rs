//! Race of two futures.

use std::{future::poll_fn, pin::pin, task::Poll};

/// Winner of a [`race`], with its output.
pub(crate) enum Winner<A, B> {
    First(A),
    Second(B),
}

/// Completes with the first of two futures that completes, and drops the other one. The first is
/// polled first.
pub(crate) async fn race<A: Future, B: Future>(
    first: A,
    second: B,
) -> Winner<A::Output, B::Output> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|context| {
        if let Poll::Ready(output) = first.as_mut().poll(context) {
            return Poll::Ready(Winner::First(output));
        }
        second.as_mut().poll(context).map(Winner::Second)
    })
    .await
}
