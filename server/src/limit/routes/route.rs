//! A configured route, and the price of requests to it.

use std::sync::Arc;

use crate::{
    config,
    limit::price::{Fee, OwnLimit, Price},
    metrics::RouteCounters,
};

/// Configured route with its counters, and its limit if it has its own.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) configured: config::Route,
    pub(crate) counters: Arc<RouteCounters>,
    pub(crate) own: Option<OwnLimit>,
}

impl Route {
    /// Returns the price of a request to the route. A route without a cost keeps the cost of
    /// `default`.
    pub(super) fn price<'a>(&'a self, default: &Price<'a>) -> Price<'a> {
        let default_cost = default.fee.map_or(1, |fee| fee.cost);
        let fee = Fee {
            own: self.own.as_ref(),
            cost: self.configured.cost.unwrap_or(default_cost),
        };
        Price {
            fee: (!self.configured.exempt).then_some(fee),
            more: Vec::new(),
            counters: &self.counters,
        }
    }
}
