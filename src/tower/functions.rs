//! Functions of the user that a layer calls.

use http::Response;

use super::limited_request::LimitedRequest;
use crate::DecisionView;

/// Cost of a request, in tokens.
pub(super) type CostFn = dyn Fn(&LimitedRequest<'_>) -> u32 + Send + Sync;
/// Predicate for requests that are not limited.
pub(super) type ExemptFn = dyn Fn(&LimitedRequest<'_>) -> bool + Send + Sync;
/// Function that is called with each decision and the name of its limit.
pub(super) type ObserverFn = dyn Fn(&'static str, &DecisionView) + Send + Sync;
/// Response to a refused request.
pub(super) type RefusalFn<B> =
    dyn Fn(&DecisionView, &LimitedRequest<'_>) -> Response<B> + Send + Sync;
