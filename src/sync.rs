//! Synchronization primitives of the library: `core`, `std` and tokio, or loom when the models run.

#[cfg(tollgate_loom)]
pub(crate) mod mortal;
#[cfg(all(feature = "tokio", any(tollgate_loom, test)))]
mod stand_in;
#[cfg(feature = "std")]
mod std_only;
#[cfg(any(tollgate_loom, tollgate_torture))]
mod stepped;
#[cfg(tollgate_torture)]
pub mod torture;

#[cfg(all(not(tollgate_loom), not(tollgate_torture), target_has_atomic = "64"))]
pub(crate) use core::sync::atomic::AtomicU64;
#[cfg(not(tollgate_loom))]
pub(crate) use core::sync::atomic::Ordering;

#[cfg(tollgate_loom)]
pub(crate) use loom::sync::atomic::Ordering;
#[cfg(tollgate_loom)]
pub(crate) use mortal::AtomicU64;
#[cfg(all(feature = "tokio", tollgate_loom))]
pub(crate) use stand_in::{Notified, Notify, Semaphore, SemaphorePermit};
#[cfg(feature = "std")]
pub(crate) use std_only::{Arc, Backoff, Mutex, MutexGuard, per_thread, unmodelled};
#[cfg(tollgate_torture)]
pub(crate) use torture::AtomicU64;

#[cfg(all(feature = "tokio", not(tollgate_loom)))]
pub(crate) use tokio::sync::{Notify, Semaphore, SemaphorePermit, futures::Notified};

// A target without 64-bit CAS, such as Cortex-M: not lock-free, see the crate's documentation.
#[cfg(all(
    not(tollgate_loom),
    not(target_has_atomic = "64"),
    feature = "portable-atomic"
))]
pub(crate) use portable_atomic::AtomicU64;

#[cfg(all(not(target_has_atomic = "64"), not(feature = "portable-atomic")))]
compile_error!(
    "this target has no 64-bit compare-and-swap: enable feature `portable-atomic` of tollgate"
);

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
