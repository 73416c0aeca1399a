//! Media types of the responses that the layer generates.

pub(super) const JSON: &str = "application/json";
/// Problem details (RFC 9457).
pub(super) const PROBLEM_JSON: &str = "application/problem+json";
pub(super) const GRPC: &str = "application/grpc";
