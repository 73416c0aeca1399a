//! The one place that names the atomics: `core`'s, or loom's when the models run.

#[cfg(not(tollgate_loom))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(tollgate_loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

/// Makes constructors `const`, except under loom, whose atomics cannot be made in constants.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visibility:vis const fn $($rest:tt)*) => {
        #[cfg(not(tollgate_loom))]
        $(#[$attribute])* $visibility const fn $($rest)*

        #[cfg(tollgate_loom)]
        $(#[$attribute])* $visibility fn $($rest)*
    };
}
pub(crate) use const_fn;

/// An array of one expression, in a constant or under loom.
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
