//! The one place that names the clock.
//!
//! There is one origin and one calibrated clock for the whole process, so that a [`Bucket`] can be
//! a `static`. quanta reads the processor's time-stamp counter, calibrated once at the start:
//! against the operating system's clock it may be some parts in a million off for as long as the
//! process lives, so a wait promised to somebody with another clock has to be rounded up by more
//! than that.

use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    bucket::Bucket,
    decision::Decision,
    request::{Request, nanos},
};

static PROCESS: LazyLock<ProcessClock> = LazyLock::new(ProcessClock::new);

struct ProcessClock {
    clock: quanta::Clock,
    origin: u64,
}

impl ProcessClock {
    fn new() -> ProcessClock {
        let clock = quanta::Clock::new();
        let origin = clock.raw();
        ProcessClock { clock, origin }
    }
}

/// Nanoseconds since the first use of the clock in this process.
#[inline(always)]
pub(crate) fn process_nanos() -> u64 {
    let process = &*PROCESS;
    process
        .clock
        .delta_as_nanos(process.origin, process.clock.raw())
}

/// Where a limiter takes its time from.
#[derive(Clone, Debug, Default)]
pub(crate) enum Clock {
    #[default]
    Process,
    Manual(ManualClock),
}

/// When a decision is made: at a time that the caller names, or now, which is read no earlier than
/// it is needed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Time<'a> {
    At(u64),
    Now(&'a Clock),
}

impl Time<'_> {
    #[inline(always)]
    pub(crate) fn nanos(self) -> u64 {
        match self {
            Time::At(nanos) => nanos,
            Time::Now(clock) => clock.nanos(),
        }
    }
}

impl Clock {
    #[inline(always)]
    pub(crate) fn nanos(&self) -> u64 {
        match self {
            Clock::Process => process_nanos(),
            Clock::Manual(clock) => clock.nanos.load(Ordering::Acquire),
        }
    }
}

/// A clock that stands still until it is told to move: for tests that do not sleep.
///
/// Clones show the same time.
///
/// ```
/// use {std::time::Duration, tollgate::{KeyedLimiter, ManualClock, Quota}};
///
/// let clock = ManualClock::new();
/// let limiter = KeyedLimiter::builder(Quota::per_second(1)).clock(clock.clone()).build()?;
/// assert!(limiter.try_acquire("alice", 1).is_allowed());
/// assert!(limiter.try_acquire("alice", 1).is_refused());
/// clock.advance(Duration::from_secs(1));
/// assert!(limiter.try_acquire("alice", 1).is_allowed());
/// # Ok::<(), tollgate::BuildError>(())
/// ```
#[derive(Clone, Default)]
pub struct ManualClock {
    nanos: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that shows zero.
    #[must_use]
    pub fn new() -> ManualClock {
        ManualClock::default()
    }

    /// Moves the clock forward.
    pub fn advance(&self, time: Duration) {
        // Wrapping takes five centuries; the buckets' time stands still long before.
        self.nanos.fetch_add(nanos(time), Ordering::AcqRel);
    }

    /// Sets the clock, backward too: limiters must stand that.
    pub fn set(&self, time: Duration) {
        self.nanos.store(nanos(time), Ordering::Release);
    }

    /// What the clock shows.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Acquire))
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

/// The everyday methods, on the process-wide clock.
impl Bucket {
    /// [`Bucket::try_acquire_at`], now.
    ///
    /// ```
    /// # use tollgate::{Bucket, Quota};
    /// static UPLOADS: Bucket = Bucket::new(Quota::per_second(5).with_capacity(10));
    /// assert!(UPLOADS.try_acquire(10).is_allowed());
    /// assert!(UPLOADS.try_acquire(10).is_refused());
    /// ```
    #[doc(alias = "check")]
    #[inline(always)]
    #[must_use = "a decision says whether the request may go on"]
    pub fn try_acquire(&self, cost: u32) -> Decision {
        self.decide(Request::take(self.layout(), process_nanos(), cost))
    }

    /// [`Bucket::reserve_at`], now.
    #[must_use = "a decision says whether the request may go on"]
    pub fn reserve(&self, cost: u32, max_wait: Duration) -> Decision {
        self.queue(Request::reserve(
            self.layout(),
            process_nanos(),
            cost,
            max_wait,
        ))
    }

    /// [`Bucket::available_at`], now.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.available_at(Duration::from_nanos(process_nanos()))
    }

    /// [`Bucket::reset_at`], now.
    pub fn reset(&self) {
        self.reset_at(Duration::from_nanos(process_nanos()));
    }
}
