//! Stand-ins for tokio's `Semaphore` and `Notify` in models, since tokio's are not checkable under
//! this crate's private cfg. They have the names and the contract of tokio's: FIFO, cancel-safe, and
//! a permit that is returned when it is dropped. The tests below check both against one another.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::poll_fn,
    sync::PoisonError,
    task::{Poll, Waker},
};

#[cfg(not(tollgate_loom))]
use std::sync::Mutex;

#[cfg(tollgate_loom)]
use loom::sync::Mutex;

/// Semaphore whose permits are granted in the order of the first polls.
pub(crate) struct Semaphore(Mutex<Permits>);

struct Permits {
    free: usize,
    next_ticket: u64,
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    ticket: u64,
    waker: Waker,
    is_granted: bool,
}

/// Permit of a [`Semaphore`], returned when it is dropped.
pub(crate) struct SemaphorePermit<'a>(&'a Semaphore);

/// Waiter in the queue of a semaphore. Leaves it when dropped, and passes on a permit that it was
/// granted and did not take.
struct Ticket<'a> {
    semaphore: &'a Semaphore,
    number: Option<u64>,
}

impl Semaphore {
    pub(crate) fn const_new(permits: usize) -> Semaphore {
        Semaphore(Mutex::new(Permits {
            free: permits,
            next_ticket: 0,
            waiters: VecDeque::new(),
        }))
    }

    /// Waits for a permit. Never fails.
    pub(crate) async fn acquire(&self) -> Result<SemaphorePermit<'_>, Infallible> {
        let mut ticket = Ticket {
            semaphore: self,
            number: None,
        };
        poll_fn(|context| ticket.poll(context.waker())).await;
        Ok(SemaphorePermit(self))
    }

    fn with<T>(&self, change: impl FnOnce(&mut Permits) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn release(&self) {
        let woken = self.with(|permits| {
            permits.free += 1;
            permits.grant()
        });
        if let Some(waker) = woken {
            waker.wake();
        }
    }
}

impl Permits {
    /// Grants a free permit to the first waiter without one.
    fn grant(&mut self) -> Option<Waker> {
        let waiter = self.waiters.iter_mut().find(|waiter| !waiter.is_granted)?;
        if self.free == 0 {
            return None;
        }
        self.free -= 1;
        waiter.is_granted = true;
        Some(waiter.waker.clone())
    }
}

impl Ticket<'_> {
    fn poll(&mut self, waker: &Waker) -> Poll<()> {
        let Some(number) = self.number else {
            let taken = self.semaphore.with(|permits| {
                if permits.free > 0 && permits.waiters.is_empty() {
                    permits.free -= 1;
                    return None;
                }
                let ticket = permits.next_ticket;
                permits.next_ticket += 1;
                permits.waiters.push_back(Waiter {
                    ticket,
                    waker: waker.clone(),
                    is_granted: false,
                });
                Some(ticket)
            });
            self.number = taken;
            return match taken {
                None => Poll::Ready(()),
                Some(_) => Poll::Pending,
            };
        };
        let granted = self.semaphore.with(|permits| {
            let at = permits
                .waiters
                .iter()
                .position(|waiter| waiter.ticket == number)?;
            if permits.waiters[at].is_granted {
                permits.waiters.remove(at);
                return Some(());
            }
            permits.waiters[at].waker.clone_from(waker);
            None
        });
        match granted {
            Some(()) => {
                self.number = None;
                Poll::Ready(())
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else {
            return;
        };
        let was_granted = self.semaphore.with(|permits| {
            let at = permits
                .waiters
                .iter()
                .position(|waiter| waiter.ticket == number);
            at.and_then(|at| permits.waiters.remove(at))
                .is_some_and(|waiter| waiter.is_granted)
        });
        if was_granted {
            self.semaphore.release();
        }
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Notification of all that wait at the moment of the call.
pub(crate) struct Notify(Mutex<Calls>);

struct Calls {
    count: u64,
    wakers: Vec<Waker>,
}

/// Completes at the next notification after its creation.
pub(crate) struct Notified<'a> {
    notify: &'a Notify,
    /// Number of calls when it was created.
    count: u64,
}

impl Notify {
    pub(crate) fn const_new() -> Notify {
        Notify(Mutex::new(Calls {
            count: 0,
            wakers: Vec::new(),
        }))
    }

    pub(crate) fn notified(&self) -> Notified<'_> {
        Notified {
            notify: self,
            count: self.with(|calls| calls.count),
        }
    }

    pub(crate) fn notify_waiters(&self) {
        let wakers = self.with(|calls| {
            calls.count += 1;
            std::mem::take(&mut calls.wakers)
        });
        wakers.into_iter().for_each(Waker::wake);
    }

    fn with<T>(&self, change: impl FnOnce(&mut Calls) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<()> {
        let count = self.count;
        self.notify.with(|calls| {
            if calls.count != count {
                return Poll::Ready(());
            }
            // Wakers of dropped futures stay until the next notification: models are short.
            calls.wakers.push(context.waker().clone());
            Poll::Pending
        })
    }
}

/// Runs random scripts on tokio's types and on the stand-ins, and compares what can be observed.
#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use std::{
        pin::Pin,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        task::{Context, Wake},
    };

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// Creates a waiter.
        Create,
        /// Polls the waiter with this number, if it is still there.
        Poll(usize),
        /// Drops the waiter with this number, or the permit that it got.
        Drop(usize),
        /// Notifies all waiters; of a semaphore, drops the oldest permit.
        Notify,
    }

    fn script() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            2 => Just(Step::Create),
            4 => (0..12_usize).prop_map(Step::Poll),
            2 => (0..12_usize).prop_map(Step::Drop),
            1 => Just(Step::Notify),
        ];
        prop::collection::vec(step, 0..60)
    }

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    enum Slot<'a, T> {
        Waiting(Pin<Box<dyn Future<Output = T> + 'a>>),
        Ready(T),
        Gone,
    }

    /// Runs a script. Returns, after each step, what each waiter has come to, and whether it was
    /// woken.
    fn run<'a, T: 'a>(
        script: &[Step],
        create: impl Fn() -> Pin<Box<dyn Future<Output = T> + 'a>>,
        notify: impl Fn(),
    ) -> Vec<Vec<(u8, bool)>> {
        let mut waiters: Vec<(Slot<'a, T>, Arc<Flag>)> = Vec::new();
        let mut seen = Vec::new();
        for step in script {
            match *step {
                Step::Create => waiters.push((Slot::Waiting(create()), Arc::default())),
                Step::Poll(number) => {
                    if let Some((slot, flag)) = waiters.get_mut(number)
                        && let Slot::Waiting(future) = slot
                    {
                        let waker = Waker::from(Arc::clone(flag));
                        let output = future.as_mut().poll(&mut Context::from_waker(&waker));
                        if let Poll::Ready(output) = output {
                            *slot = Slot::Ready(output);
                        }
                    }
                }
                Step::Drop(number) => {
                    if let Some((slot, _)) = waiters.get_mut(number) {
                        *slot = Slot::Gone;
                    }
                }
                Step::Notify => {
                    notify();
                    let permit =
                        |slot: &Slot<'_, T>| size_of::<T>() > 0 && matches!(slot, Slot::Ready(_));
                    if let Some((slot, _)) = waiters.iter_mut().find(|(slot, _)| permit(slot)) {
                        *slot = Slot::Gone;
                    }
                }
            }
            let state = |(slot, flag): &(Slot<'_, T>, Arc<Flag>)| {
                let state = match slot {
                    Slot::Waiting(_) => 0,
                    Slot::Ready(_) => 1,
                    Slot::Gone => 2,
                };
                (state, flag.0.load(Ordering::Relaxed))
            };
            seen.push(waiters.iter().map(state).collect());
        }
        seen
    }

    proptest! {
        #[test]
        fn the_semaphore_does_what_tokios_does(script in script()) {
            let (tokios, ours) = (tokio::sync::Semaphore::const_new(1), Semaphore::const_new(1));
            let expected = run(&script, || Box::pin(tokios.acquire()), || {});
            let seen = run(&script, || Box::pin(ours.acquire()), || {});
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn notifications_do_what_tokios_do(script in script()) {
            let (tokios, ours) = (tokio::sync::Notify::const_new(), Notify::const_new());
            let expected = run(&script, || Box::pin(tokios.notified()), || tokios.notify_waiters());
            let seen = run(&script, || Box::pin(ours.notified()), || ours.notify_waiters());
            // A stand-in also wakes the wakers of waiters that have left.
            let states = |seen: Vec<Vec<(u8, bool)>>| -> Vec<Vec<u8>> {
                seen.into_iter().map(|step| step.into_iter().map(|(state, _)| state).collect()).collect()
            };
            prop_assert_eq!(states(seen), states(expected));
        }
    }
}
