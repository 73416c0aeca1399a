//! Atomics of the library: those of `core`, or loom's in model checks.

#[cfg(not(tollgate_loom))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(tollgate_loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

/// Makes constructors `const`, except under loom, whose atomics have no const constructors.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visibility:vis const fn $($rest:tt)*) => {
        #[cfg(not(tollgate_loom))]
        $(#[$attribute])* $visibility const fn $($rest)*

        #[cfg(tollgate_loom)]
        $(#[$attribute])* $visibility fn $($rest)*
    };
}
pub(crate) use const_fn;

/// Creates an array from one expression, in const contexts or under loom.
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
