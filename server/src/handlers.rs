//! Handlers of the endpoints that the server itself responds to.

pub(crate) mod metrics;
