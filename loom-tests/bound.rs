//! Bounds of the exploration: the number of preemptions in an execution.
//!
//! Each model has two bounds. With the first, which CI uses, the model still fails on the mutations
//! that it lists. `scripts/loom --full` explores more executions with the second one.

/// Variable that `scripts/loom --full` sets.
const FULL: &str = "TOLLGATE_LOOM_FULL";

/// Returns the builder of a model with its bound for CI, or its full bound.
pub fn builder(ci: usize, full: usize) -> loom::model::Builder {
    let mut builder = loom::model::Builder::new();
    let is_full = std::env::var_os(FULL).is_some();
    builder.preemption_bound = Some(if is_full { full } else { ci });
    builder
}
