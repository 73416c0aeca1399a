//! Clock of tables that several processes share.

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_BOOTTIME`, moved by an offset: one clock for all processes of a machine, which counts the
/// time of a suspended machine too. Reading it takes some 24 ns. quanta would calibrate in each process:
/// six processes were seen to differ by 2.1 parts in a million, which is tokens that one of them sells and
/// another sells again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BootClock {
    /// Nanoseconds to add, modulo 2⁶⁴.
    pub(crate) offset: u64,
}

impl BootClock {
    pub(crate) fn nanos(self) -> u64 {
        nanos_since_boot().wrapping_add(self.offset)
    }
}

/// Returns the time since the machine was booted.
pub(crate) fn nanos_since_boot() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let [seconds, nanos] = [time.tv_sec, time.tv_nsec].map(i64::unsigned_abs);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
