//! Clocks: the process-wide clock, the operating system's, and a manual clock for tests.
//!
//! One origin and one calibrated clock serve the whole process, so that a bucket can be a `static`.
//! quanta reads the processor's time-stamp counter, which is calibrated once at the start. The
//! counter may drift from the operating system's clock by some parts in a million for the lifetime
//! of the process. [`Clock::monotonic`] does not drift: waits announced to clients are exact by it.

use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::duration::saturating_nanos;

static PROCESS: LazyLock<ProcessClock> = LazyLock::new(ProcessClock::new);

/// First use of the monotonic clock in this process.
static MONOTONIC_ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

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

/// Clock of a limiter: the process-wide clock, the operating system's, or a manual one.
///
/// ```
/// use tollgate::{Bucket, Clock, KeyedLimiter, Quota};
///
/// let limiter = KeyedLimiter::<str>::builder(Quota::per_second(1)).clock(Clock::monotonic()).build()?;
/// // A bucket takes the time of a clock as an argument.
/// let (clock, bucket) = (Clock::monotonic(), Bucket::new(Quota::per_second(1)));
/// assert!(bucket.try_acquire_at(clock.now(), 1).is_allowed());
/// # Ok::<(), tollgate::BuildError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Process,
    Monotonic,
    Manual(ManualClock),
}

impl Clock {
    /// The process-wide clock, which is the default: the processor's time-stamp counter where it is
    /// reliable, read in some 9 ns.
    ///
    /// The counter is calibrated once. Its rate may differ from the operating system's clock by
    /// some parts in a million for the lifetime of the process.
    #[must_use]
    pub const fn process() -> Clock {
        Clock(Source::Process)
    }

    /// The clock of [`Instant`], whose rate follows the operating system's: `CLOCK_MONOTONIC` on
    /// Linux. Reading it takes some 23 ns.
    ///
    /// It is the clock for limits that announce waits to clients with clocks of their own, and for
    /// machines whose time-stamp counters are not synchronized.
    #[must_use]
    pub const fn monotonic() -> Clock {
        Clock(Source::Monotonic)
    }

    /// Returns the time of the clock, since an origin that is the same for all clocks of its kind
    /// in the process.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    #[inline(always)]
    pub(crate) fn nanos(&self) -> u64 {
        match &self.0 {
            Source::Process => process_nanos(),
            other => other.nanos(),
        }
    }

    /// Returns true for a clock that only a test advances.
    #[cfg(feature = "redis")]
    pub(crate) fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }
}

impl Source {
    /// Not inlined, so that the read of the process-wide clock can be.
    #[inline(never)]
    fn nanos(&self) -> u64 {
        match self {
            Source::Process => process_nanos(),
            Source::Monotonic => saturating_nanos(MONOTONIC_ORIGIN.elapsed()),
            Source::Manual(clock) => clock.nanos.load(Ordering::Acquire),
        }
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Clock {
        Clock(Source::Manual(clock))
    }
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
