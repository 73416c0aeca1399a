//! Synchronization primitives of the library: `core`, `std` and tokio, or loom when the models run.

#[cfg(all(feature = "tokio", any(tollgate_loom, test)))]
mod stand_in;
#[cfg(feature = "std")]
mod std_only;

#[cfg(not(tollgate_loom))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(tollgate_loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(all(feature = "tokio", tollgate_loom))]
pub(crate) use stand_in::{Notified, Notify, Semaphore, SemaphorePermit};
#[cfg(feature = "std")]
pub(crate) use std_only::{Arc, Backoff, Mutex, per_thread, unmodelled};

#[cfg(all(feature = "tokio", not(tollgate_loom)))]
pub(crate) use tokio::sync::{Notify, Semaphore, SemaphorePermit, futures::Notified};

/// Declares a `const` constructor. Under loom the constructor is not `const`, because loom's
/// atomics cannot be created in constants.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visibility:vis const fn $($rest:tt)*) => {
        #[cfg(not(tollgate_loom))]
        $(#[$attribute])* $visibility const fn $($rest)*

        #[cfg(tollgate_loom)]
        $(#[$attribute])* $visibility fn $($rest)*
    };
}
pub(crate) use const_fn;
