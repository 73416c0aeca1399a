//! Clock of the machine: its boot, the time namespace of the process, and the wall clock.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use super::error::OpenError;

/// Returns the number of this boot of the machine.
pub(super) fn boot_id() -> Result<u128, OpenError> {
    let doing = "read /proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(|source| OpenError::Io { doing, source })?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).map_err(|_| OpenError::Unsupported {
        what: "/proc/sys/kernel/random/boot_id has no number",
    })
}

/// Returns the number of the time namespace, which may shift the clock. 0: the kernel has none.
pub(super) fn time_namespace() -> u64 {
    rustix::fs::stat("/proc/self/ns/time").map_or(0, |stat| stat.st_ino)
}

/// Returns the nanoseconds since 1970 by the clock of the system.
pub(super) fn wall_nanos() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.map_or(0, |time| time.as_nanos().try_into().unwrap_or(u64::MAX))
}
