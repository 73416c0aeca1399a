//! Synchronization primitives of the library: `core` and `std`, or loom when the models run.

#[cfg(feature = "std")]
mod std_only;

#[cfg(not(tollgate_loom))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(tollgate_loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "std")]
pub(crate) use std_only::{Arc, Backoff, Mutex, per_thread, unmodelled};

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

/// Creates an array from one expression, in a constant or under loom.
macro_rules! array_of {
    ($value:expr; $length:expr) => {{
        #[cfg(not(tollgate_loom))]
        let array = [const { $value }; $length];
        #[cfg(tollgate_loom)]
        let array = core::array::from_fn(|_| $value);
        array
    }};
}
pub(crate) use array_of;
