//! Waker of a connection's task, which can hold back wake-ups that the task causes itself.

use std::{
    cell::Cell,
    ptr,
    sync::{Arc, OnceLock},
    task::{Wake, Waker},
};

thread_local! {
    /// Waker whose wake-ups by this thread are held back, and whether there was one.
    static HELD: Cell<(*const TaskWaker, bool)> = const { Cell::new((ptr::null(), false)) };
}

/// Waker that forwards to a task.
#[derive(Debug, Default)]
pub(super) struct TaskWaker {
    /// A connection stays in one task, so all its wakers wake the same task.
    task: OnceLock<Waker>,
}

impl TaskWaker {
    pub(super) fn is_registered(&self) -> bool {
        self.task.get().is_some()
    }

    pub(super) fn register(&self, task: &Waker) {
        self.task.get_or_init(|| task.clone());
    }

    pub(super) fn wake_task(&self) {
        if ptr::eq(HELD.get().0, self) {
            return HELD.set((self, true));
        }
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }

    /// Runs `action` in the connection's task and holds back the wake-ups of that task by this
    /// thread. Returns true if there was one.
    pub(super) fn hold<T>(&self, action: impl FnOnce() -> T) -> (T, bool) {
        /// Ends the hold, also when the action panics.
        struct Guard;
        impl Drop for Guard {
            fn drop(&mut self) {
                HELD.set((ptr::null(), false));
            }
        }
        HELD.set((self, false));
        let guard = Guard;
        let result = action();
        let is_woken = HELD.get().1;
        drop(guard);
        (result, is_woken)
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<TaskWaker>) {
        self.wake_task();
    }

    fn wake_by_ref(self: &Arc<TaskWaker>) {
        self.wake_task();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Task>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn registered() -> (Arc<TaskWaker>, Arc<Task>) {
        let (waker, task) = (Arc::<TaskWaker>::default(), Arc::<Task>::default());
        waker.register(&Arc::clone(&task).into());
        (waker, task)
    }

    fn woken(task: &Task) -> usize {
        task.0.load(Ordering::Relaxed)
    }

    #[test]
    fn wake_ups_reach_the_task() {
        let (waker, task) = registered();
        let own = Waker::from(Arc::clone(&waker));
        own.wake_by_ref();
        own.wake();
        assert_eq!(woken(&task), 2);
    }

    #[test]
    fn only_the_own_task_is_held_back_and_only_on_this_thread() {
        let ((waker, task), (other, other_task)) = (registered(), registered());
        let (result, is_woken) = waker.hold(|| {
            waker.wake_task();
            other.wake_task();
            thread::scope(|scope| scope.spawn(|| waker.wake_task()).join()).unwrap();
            7
        });
        assert_eq!((result, is_woken), (7, true));
        assert_eq!((woken(&task), woken(&other_task)), (1, 1));
        assert_eq!(waker.hold(|| ()), ((), false));
        waker.wake_task();
        assert_eq!(woken(&task), 2);
    }

    #[test]
    fn a_panic_ends_the_hold() {
        let (waker, task) = registered();
        let action = std::panic::AssertUnwindSafe(|| waker.hold(|| panic!("in the action")));
        assert!(std::panic::catch_unwind(action).is_err());
        waker.wake_task();
        assert_eq!(woken(&task), 1);
    }
}
