//! Waiting on a thread: an executor of one future, and its timer.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use super::Timer;

/// Timer of a future that [`block_on`] runs.
#[derive(Debug, Default)]
pub(crate) struct ThreadTimer {
    /// Time at which the thread polls its future again, if it is not woken before.
    wake_at: Mutex<Option<Instant>>,
}

impl Timer for &ThreadTimer {
    fn sleep(self, time: Duration) -> impl Future<Output = ()> + Send {
        // `None`: centuries ahead.
        let deadline = Instant::now().checked_add(time);
        std::future::poll_fn(move |_| match deadline {
            Some(deadline) if deadline <= Instant::now() => Poll::Ready(()),
            deadline => {
                self.set(deadline);
                Poll::Pending
            }
        })
    }
}

impl ThreadTimer {
    fn set(&self, time: Option<Instant>) {
        *self.wake_at.lock().unwrap_or_else(PoisonError::into_inner) = time;
    }

    fn take(&self) -> Option<Instant> {
        self.wake_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, which sleeps while the future waits. The future sets one deadline
/// of `timer` at a time.
pub(crate) fn block_on<F: Future>(timer: &ThreadTimer, future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        match timer.take() {
            Some(time) => thread::park_timeout(time.saturating_duration_since(Instant::now())),
            None => thread::park(),
        }
    }
}
