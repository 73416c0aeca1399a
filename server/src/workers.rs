//! The threads that serve connections, as many as there are processors.
//!
//! Each is a runtime of its own, and a connection stays on the one that it was given to, together
//! with the connections to upstreams that it opens. In a runtime of many threads any of them may
//! find a connection ready, and hands it to another if it has more: under load, when all are busy
//! anyway, that costs more than it mends. Whoever has few connections, all of them busy, may so
//! have a thread that idles while another has two to serve.

use std::{
    cell::Cell,
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, JoinHandle},
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// Which worker this thread is; 0 if it is none.
pub(crate) fn number() -> usize {
    NUMBER.get()
}

/// When it is dropped, what the threads still do is given up.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    next: AtomicUsize,
}

struct Worker {
    runtime: Handle,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    pub(crate) fn start() -> io::Result<Workers> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let workers = (1..=count).map(Worker::start).collect::<io::Result<_>>()?;
        Ok(Workers {
            workers,
            next: AtomicUsize::new(0),
        })
    }

    /// Gives a task to the workers in turn.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        self.workers[turn].runtime.spawn(task);
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, (stop, stopped)) = (runtime.handle().clone(), oneshot::channel::<()>());
        let thread = thread::Builder::new()
            .name(format!("worker {number}"))
            .spawn(move || {
                NUMBER.set(number);
                // An error says that the other end was dropped, which is what is waited for.
                let _ = runtime.block_on(stopped);
                // A name that is being looked up would be waited for.
                runtime.shutdown_background();
            })?;
        Ok(Worker {
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.stop = None;
        }
        for thread in self
            .workers
            .iter_mut()
            .filter_map(|worker| worker.thread.take())
        {
            // A panic has been told of.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn every_worker_gets_its_turn() {
        let workers = Workers::start().unwrap();
        let (done, seen) = mpsc::channel();
        for _ in 0..workers.workers.len() {
            let done = done.clone();
            workers.spawn(async move { done.send(number()).unwrap() });
        }
        drop(done);
        let seen: HashSet<_> = seen.iter().collect();
        assert_eq!(seen, (1..=workers.workers.len()).collect());
        assert_eq!(number(), 0);
    }

    #[test]
    fn what_is_not_done_is_given_up_at_the_end() {
        let workers = Workers::start().unwrap();
        let (begun, waits) = mpsc::channel();
        workers.spawn(async move {
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(begun);
        });
        waits.recv().unwrap();
        drop(workers);
        assert_eq!(
            waits.recv_timeout(Duration::ZERO),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    }
}
