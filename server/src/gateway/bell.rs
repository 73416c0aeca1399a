//! Wakes the task that drives a connection, unless it is that task that rings.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Rung by whatever the connection waits for.
#[derive(Debug, Default)]
pub(super) struct Bell {
    task: Mutex<Option<Waker>>,
    quiet: AtomicBool,
}

impl Bell {
    /// Polls on behalf of a task, which is woken when the bell rings.
    pub(super) fn poll<F: Future + ?Sized>(
        self: &Arc<Bell>,
        future: Pin<&mut F>,
        cx: &Context<'_>,
    ) -> Poll<F::Output> {
        match &mut *self.task() {
            Some(task) => task.clone_from(cx.waker()),
            task => *task = Some(cx.waker().clone()),
        }
        future.poll(&mut Context::from_waker(&Arc::clone(self).into()))
    }

    /// Does something that rings the bell for the one who does it. Whoever else rings meanwhile, on
    /// another thread, is not heard.
    pub(super) fn quietly<T>(&self, act: impl FnOnce() -> T) -> T {
        self.quiet.store(true, Ordering::SeqCst);
        let result = act();
        self.quiet.store(false, Ordering::SeqCst);
        result
    }

    fn task(&self) -> MutexGuard<'_, Option<Waker>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Bell>) {
        if self.quiet.load(Ordering::SeqCst) {
            return;
        }
        // Not while it is woken: that may run anything.
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
    fn it_wakes_who_polled_last_but_nobody_in_his_own_work() {
        let (bell, tasks) = (
            Arc::new(Bell::default()),
            [Arc::new(Task::default()), Arc::default()],
        );
        let mut rope = None;
        for task in &tasks {
            let future = pin!(poll_fn(|cx| {
                rope = Some(cx.waker().clone());
                Poll::<()>::Pending
            }));
            let waker = Arc::clone(task).into();
            assert!(bell.poll(future, &Context::from_waker(&waker)).is_pending());
        }
        let (rope, woken) = (rope.unwrap(), || {
            tasks.each_ref().map(|task| task.0.load(Ordering::Relaxed))
        });
        rope.wake_by_ref();
        assert_eq!(woken(), [0, 1]);
        bell.quietly(|| rope.wake_by_ref());
        assert_eq!(woken(), [0, 1]);
        rope.wake();
        assert_eq!(woken(), [0, 2]);
    }
}
