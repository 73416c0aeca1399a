//! Clocks: the process-wide clock, the operating system's, tokio's, and a manual clock for tests.
//!
//! One origin and one calibrated clock serve the whole process, so that a bucket can be a `static`.
//! quanta reads the processor's time-stamp counter, which is calibrated once at the start. The
//! counter may drift from the operating system's clock by some parts in a million for the lifetime
//! of the process. [`Clock::monotonic`] does not drift: waits announced to clients are exact by it.

#[cfg(feature = "shared")]
mod boot;
mod manual;
#[cfg(feature = "tokio")]
mod tokio_clock;

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

#[cfg(feature = "shared")]
pub(crate) use boot::{BootClock, nanos_since_boot};
pub use manual::ManualClock;
#[cfg(feature = "tokio")]
pub use tokio_clock::TokioClock;

use crate::duration::saturating_nanos;
#[cfg(feature = "tokio")]
use crate::{
    clock_margin::{with_margin, without_margin},
    wait::Timer,
};

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

/// Clock of a limiter or a bucket: the process-wide clock, the operating system's, tokio's (with
/// feature `tokio`), or a [`ManualClock`].
///
/// ```
/// use tollgate::{Bucket, Clock, KeyedLimiter, Quota};
///
/// let limiter = KeyedLimiter::<str>::builder(Quota::per_second(1)).clock(Clock::monotonic()).build()?;
/// let bucket = Bucket::with_clock(Quota::per_second(1), Clock::monotonic());
/// assert!(bucket.try_acquire(1).is_allowed());
/// # Ok::<(), tollgate::BuildError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Process,
    Monotonic,
    #[cfg(feature = "tokio")]
    Tokio(TokioClock),
    #[cfg(feature = "shared")]
    Boot(BootClock),
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

    /// Returns true when both are the same clock: they always show the same time.
    #[inline]
    pub(crate) fn is_same(&self, other: &Clock) -> bool {
        match (&self.0, &other.0) {
            (Source::Process, Source::Process) | (Source::Monotonic, Source::Monotonic) => true,
            (Source::Manual(one), Source::Manual(other)) => one.is_same(other),
            #[cfg(feature = "shared")]
            (Source::Boot(one), Source::Boot(other)) => one == other,
            _ => false,
        }
    }

    /// Sleeps until this clock has reached `time`, with the timer of the waiter.
    #[cfg(feature = "tokio")]
    pub(crate) async fn sleep_until(&self, timer: impl Timer, time: Duration) {
        let left = time.saturating_sub(self.now());
        match &self.0 {
            // The timer has another clock.
            Source::Process => timer.sleep(with_margin(left)).await,
            Source::Monotonic | Source::Tokio(_) => timer.sleep(left).await,
            #[cfg(feature = "shared")]
            Source::Boot(_) => timer.sleep(left).await,
            Source::Manual(clock) => clock.sleep_until(time).await,
        }
    }

    /// Returns the longest time by this clock that ends within `time` by tokio's.
    #[cfg(feature = "tokio")]
    pub(crate) fn within(&self, time: Duration) -> Duration {
        match &self.0 {
            Source::Process => without_margin(time),
            _ => time,
        }
    }

    /// Returns true for the clock that limiters have by default.
    #[cfg(feature = "shared")]
    pub(crate) fn is_default(&self) -> bool {
        matches!(self.0, Source::Process)
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
            #[cfg(feature = "tokio")]
            Source::Tokio(clock) => saturating_nanos(clock.now()),
            #[cfg(feature = "shared")]
            Source::Boot(clock) => clock.nanos(),
            Source::Manual(clock) => clock.nanos(),
        }
    }
}

#[cfg(feature = "tokio")]
impl From<TokioClock> for Clock {
    fn from(clock: TokioClock) -> Clock {
        Clock(Source::Tokio(clock))
    }
}

#[cfg(feature = "shared")]
impl From<BootClock> for Clock {
    fn from(clock: BootClock) -> Clock {
        Clock(Source::Boot(clock))
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
