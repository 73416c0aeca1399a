//! Waker of a connection's driver. It does not wake the task that is driving the connection.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Waker that forwards to the task that polled the connection last.
#[derive(Debug, Default)]
pub(super) struct ConnectionWaker {
    task: Mutex<Option<Waker>>,
    suppressed: AtomicBool,
}

impl ConnectionWaker {
    /// Polls `future` and registers the task of `cx` as the one to wake.
    pub(super) fn poll<F: Future + ?Sized>(
        self: &Arc<ConnectionWaker>,
        future: Pin<&mut F>,
        cx: &Context<'_>,
    ) -> Poll<F::Output> {
        match &mut *self.task() {
            Some(task) => task.clone_from(cx.waker()),
            task => *task = Some(cx.waker().clone()),
        }
        future.poll(&mut Context::from_waker(&Arc::clone(self).into()))
    }

    /// Runs `action` and drops the wake-ups that it causes. Wake-ups of other threads during the
    /// call are lost as well.
    pub(super) fn suppress<T>(&self, action: impl FnOnce() -> T) -> T {
        self.suppressed.store(true, Ordering::SeqCst);
        let result = action();
        self.suppressed.store(false, Ordering::SeqCst);
        result
    }

    fn task(&self) -> MutexGuard<'_, Option<Waker>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for ConnectionWaker {
    fn wake(self: Arc<ConnectionWaker>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<ConnectionWaker>) {
        if self.suppressed.load(Ordering::SeqCst) {
            return;
        }
        // The lock is released first: waking a task may run arbitrary code.
        let task = self.task().clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, sync::atomic::AtomicUsize};

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Task>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wakes_the_last_task_that_polled_unless_suppressed() {
        let (connection_waker, tasks) = (
            Arc::new(ConnectionWaker::default()),
            [Arc::new(Task::default()), Arc::default()],
        );
        let mut registered = None;
        for task in &tasks {
            let future = pin!(poll_fn(|cx| {
                registered = Some(cx.waker().clone());
                Poll::<()>::Pending
            }));
            let waker = Arc::clone(task).into();
            let polled = connection_waker.poll(future, &Context::from_waker(&waker));
            assert!(polled.is_pending());
        }
        let (registered, wake_counts) = (registered.unwrap(), || {
            tasks.each_ref().map(|task| task.0.load(Ordering::Relaxed))
        });
        registered.wake_by_ref();
        assert_eq!(wake_counts(), [0, 1]);
        connection_waker.suppress(|| registered.wake_by_ref());
        assert_eq!(wake_counts(), [0, 1]);
        registered.wake();
        assert_eq!(wake_counts(), [0, 2]);
    }
}
