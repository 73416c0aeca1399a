//! A configured route, and the price of requests to it.

use std::sync::Arc;

use crate::{
    config,
    limit::{
        limiter::Limiter,
        price::{Fee, Price},
    },
    metrics::RouteCounters,
};

/// Configured route with its counters, and its limiter if it has its own.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) configured: config::Route,
    pub(crate) counters: Arc<RouteCounters>,
    pub(crate) limiter: Option<Arc<Limiter>>,
}

impl Route {
    /// Returns the price of a request to the route. A route without a cost keeps the cost of
    /// `default`.
    pub(super) fn price<'a>(&'a self, default: &Price<'a>) -> Price<'a> {
        let default_cost = default.fee.map_or(1, |fee| fee.cost);
        let fee = Fee {
            limiter: self.limiter.as_ref(),
            cost: self.configured.cost.unwrap_or(default_cost),
        };
        Price {
            fee: (!self.configured.exempt).then_some(fee),
            more: Vec::new(),
            counters: &self.counters,
        }
    }
}
