//! Which part of a decision on several limits decides.

use crate::decision::DecisionView;

/// Returns the number of the refusing part whose tokens are available last; before all, of one that
/// can never allow the cost. Of equals it is the first.
#[inline]
pub(crate) fn refused_by(
    parts: impl DoubleEndedIterator<Item = (usize, DecisionView)>,
) -> Option<usize> {
    parts
        .filter(|(_, part)| part.is_refused())
        .rev()
        .max_by_key(|(_, part)| (part.retry_after().is_none(), part.retry_after()))
        .map(|(number, _)| number)
}

/// Returns the number of the part that allows the fewest further requests of its kind, or else decides
/// the refusal.
#[inline]
pub(crate) fn tightest(
    parts: impl DoubleEndedIterator<Item = (usize, DecisionView)> + Clone,
) -> usize {
    let tightest = || {
        let parts = parts.clone();
        parts.min_by_key(|(_, part)| requests_left(part))
    };
    refused_by(parts.clone())
        .or_else(|| tightest().map(|(number, _)| number))
        .unwrap_or(0)
}

/// Returns how many further requests of the same cost the limit would allow now.
pub(crate) fn requests_left(part: &DecisionView) -> u32 {
    part.remaining()
        .checked_div(part.cost())
        .unwrap_or(u32::MAX)
}
