//! Clocks: the process-wide clock and a manual clock for tests.
//!
//! One origin and one calibrated clock serve the whole process, so that a bucket can be a `static`.
//! quanta reads the processor's time-stamp counter, which is calibrated once at the start. The
//! counter may drift from the operating system's clock by some parts in a million for the lifetime
//! of the process, so a wait reported to a caller with another clock is rounded up by more than
//! that.

use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::duration::saturating_nanos;

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

/// Returns the nanoseconds since the first use of the clock in this process.
#[inline(always)]
pub(crate) fn process_nanos() -> u64 {
    let process = &*PROCESS;
    process
        .clock
        .delta_as_nanos(process.origin, process.clock.raw())
}

/// Clock of a limiter.
#[derive(Clone, Debug, Default)]
pub(crate) enum Clock {
    #[default]
    Process,
    Manual(ManualClock),
}

/// Time of a decision: given by the caller, or read from a clock when first needed.
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

/// Clock that only its methods advance, for tests without sleeping.
///
/// Clones share the same time.
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
    /// Creates a clock at time zero.
    #[must_use]
    pub fn new() -> ManualClock {
        ManualClock::default()
    }

    /// Advances the clock by `time`.
    pub fn advance(&self, time: Duration) {
        // Wrapping takes five centuries; the time of buckets stops long before.
        self.nanos
            .fetch_add(saturating_nanos(time), Ordering::AcqRel);
    }

    /// Sets the clock to `time`, which may be earlier: limiters tolerate backward clocks.
    pub fn set(&self, time: Duration) {
        self.nanos.store(saturating_nanos(time), Ordering::Release);
    }

    /// Returns the time of the clock.
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
