//! Whole numbers within bounds, and fractions.

use std::fmt;

use super::parse::Value;

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole<const MIN: u64, const MAX: u64>(u64);

/// Capacity of a table of clients.
pub(crate) type MaxClients = Whole<1, 1_000_000_000>;

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    pub(crate) fn get(self) -> u64 {
        self.0
    }

    /// Returns the number as a `usize`; numbers that do not fit become `usize::MAX`.
    pub(crate) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Value for Whole<MIN, MAX> {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn from_integer(number: u64) -> Option<Self> {
        (MIN..=MAX).contains(&number).then_some(Whole(number))
    }
}

/// A number above 0 and up to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fraction(f64);

impl Fraction {
    pub(crate) fn get(self) -> f64 {
        self.0
    }
}

impl Value for Fraction {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number above 0 and up to 1")
    }

    fn from_float(number: f64) -> Option<Fraction> {
        (number > 0.0 && number <= 1.0).then_some(Fraction(number))
    }
}
