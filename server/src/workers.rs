//! Worker threads that serve connections, one for each processor.
//!
//! Each worker is a single-threaded runtime. A connection stays on its worker, together with the
//! connections to upstreams that it opens. In a multi-threaded runtime, any thread may find a
//! connection ready, and other threads steal it: under load, when all threads are busy, stealing
//! costs more than it gains. The drawback: with few connections, all of them busy, one worker may
//! idle while another serves two.

use std::{
    cell::Cell,
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// Less than the timeouts of requests.
const TICK: Duration = Duration::from_secs(1);

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// Returns the number of this worker thread, from 1; 0 on other threads.
pub(crate) fn number() -> usize {
    NUMBER.get()
}

/// The worker threads. Dropping it cancels their tasks and joins the threads.
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
    /// Starts the threads. `keep_timer`: their tasks set timers often; see [`tick`].
    pub(crate) fn start(keep_timer: bool) -> io::Result<Workers> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let workers = (1..=count)
            .map(|number| Worker::start(number, keep_timer))
            .collect::<io::Result<_>>()?;
        Ok(Workers {
            workers,
            next: AtomicUsize::new(0),
        })
    }

    /// Spawns a task on the next worker, round robin.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        self.workers[index].runtime.spawn(task);
    }
}

impl Worker {
    fn start(number: usize, keep_timer: bool) -> io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, (stop, stopped)) = (runtime.handle().clone(), oneshot::channel::<()>());
        let thread = thread::Builder::new()
            .name(format!("worker {number}"))
            .spawn(move || {
                NUMBER.set(number);
                // Returns an error when the sender is dropped, which is the signal to stop.
                let _ = runtime.block_on(async {
                    if keep_timer {
                        tokio::spawn(tick());
                    }
                    stopped.await
                });
                // A blocking shutdown would wait for DNS lookups.
                runtime.shutdown_background();
            })?;
        Ok(Worker {
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

/// Keeps a timer within the next second. tokio wakes its driver, which costs two system calls, when a
/// timer is set that expires before all others: without this, the timeout of a request would do so.
async fn tick() {
    loop {
        tokio::time::sleep(TICK).await;
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
            // The panic hook has reported a panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::mpsc};

    use super::*;

    #[test]
    fn tasks_are_spawned_round_robin() {
        let workers = Workers::start(true).unwrap();
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
    fn dropping_the_workers_cancels_their_tasks() {
        let workers = Workers::start(true).unwrap();
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
