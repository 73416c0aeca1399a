//! Pricing: the buckets and costs that a request is charged, and the counters of its route.

use std::{mem, sync::Arc};

use hyper::Method;

use super::{
    Limiter,
    route_limits::RouteLimits,
    routes::{Route, Routes},
};
use crate::{
    config::Settings,
    endpoint::Endpoint,
    metrics::{Metrics, RouteCounters},
    request::original::OriginalRequest,
};

/// Prices of all requests under a configuration.
pub(crate) struct Pricing {
    routes: Routes,
    /// Counters of [`Endpoint::COUNTED`], in the same order.
    endpoints: [Arc<RouteCounters>; Endpoint::COUNTED.len()],
    /// By the index of the upstream.
    upstreams: Vec<Arc<RouteCounters>>,
}

impl Pricing {
    pub(crate) fn new(settings: &Settings, metrics: &Metrics, limits: &RouteLimits) -> Pricing {
        let routes = settings.routes.iter().map(|route| {
            let label = route.label();
            Route {
                configured: route.clone(),
                counters: metrics.route(&label),
                limiter: limits.get(&label),
            }
        });
        let upstreams = settings
            .gateway
            .iter()
            .flat_map(|gateway| &gateway.upstreams);
        let upstreams = upstreams
            .map(|upstream| metrics.route(&upstream.prefix))
            .collect();
        Pricing {
            routes: Routes::new(routes),
            endpoints: Endpoint::COUNTED.map(|endpoint| metrics.route(endpoint.label())),
            upstreams,
        }
    }

    /// Returns the price of a request.
    #[inline]
    pub(crate) fn price(&self, method: &Method, path: &str, endpoint: Endpoint) -> Price<'_> {
        let default = Price::new(endpoint.default_cost(), self.counters(endpoint));
        if self.routes.is_empty() {
            default
        } else {
            self.routes.price(method, path, &default)
        }
    }

    /// Returns the price of an original request behind `/auth`, where `method` and `path` are those
    /// of the request to `/auth` itself and stand in for missing headers.
    pub(crate) fn original_price(
        &self,
        method: &Method,
        path: &str,
        original: &OriginalRequest<'_>,
    ) -> Price<'_> {
        let OriginalRequest { methods, paths } = original;
        let methods = methods.iter().chain(methods.is_empty().then_some(method));
        let paths = || {
            let given = paths.iter().map(|path| &**path);
            given.chain(paths.is_empty().then_some(path))
        };
        let prices =
            methods.flat_map(|method| paths().map(|path| self.price(method, path, Endpoint::Auth)));
        prices
            .reduce(Price::combine)
            .unwrap_or_else(|| self.price(method, path, Endpoint::Auth))
    }

    /// Returns the counters of requests that no configured route matches.
    #[inline]
    pub(crate) fn counters(&self, endpoint: Endpoint) -> &Arc<RouteCounters> {
        if let Endpoint::Upstream(index) = endpoint
            && let Some(counters) = self.upstreams.get(index)
        {
            return counters;
        }
        &self.endpoints[endpoint.counter_index()]
    }
}

/// Price of a request, and the counters of its route.
#[derive(Clone)]
pub(crate) struct Price<'a> {
    /// `None`: the request is exempt.
    pub(crate) fee: Option<Fee<'a>>,
    /// Fees from other buckets, when the path has several readings. Not allocated while empty.
    pub(crate) more: Vec<Fee<'a>>,
    pub(crate) counters: &'a Arc<RouteCounters>,
}

/// Cost in tokens of one bucket.
#[derive(Clone, Copy)]
pub(crate) struct Fee<'a> {
    /// Limiter of the route; `None`: the default limiter.
    pub(crate) limiter: Option<&'a Arc<Limiter>>,
    pub(crate) cost: u32,
}

impl<'a> Price<'a> {
    /// Creates a price in tokens of the default limiter.
    #[inline]
    pub(super) fn new(cost: u32, counters: &'a Arc<RouteCounters>) -> Price<'a> {
        Price {
            fee: Some(Fee {
                limiter: None,
                cost,
            }),
            more: Vec::new(),
            counters,
        }
    }

    /// Applies a route. A route without a cost keeps the cost of this price.
    pub(super) fn for_route(&self, route: &'a Route) -> Price<'a> {
        let default = self.fee.map_or(1, |fee| fee.cost);
        let fee = Fee {
            limiter: route.limiter.as_ref(),
            cost: route.configured.cost.unwrap_or(default),
        };
        Price {
            fee: (!route.configured.exempt).then_some(fee),
            more: Vec::new(),
            counters: &route.counters,
        }
    }

    /// Combines the prices of two readings of a path.
    ///
    /// Counters and first fee are those of the price with a limiter of its own, else of the higher
    /// cost. For each bucket, the higher cost counts.
    pub(super) fn combine(mut self, mut other: Price<'a>) -> Price<'a> {
        if other.rank() > self.rank() {
            mem::swap(&mut self, &mut other);
        }
        for fee in other.fee.into_iter().chain(other.more) {
            match self
                .fee
                .iter_mut()
                .chain(&mut self.more)
                .find(|known| known.has_same_bucket(&fee))
            {
                Some(known) => known.cost = known.cost.max(fee.cost),
                None => self.more.push(fee),
            }
        }
        self
    }

    /// An exemption ranks below every cost.
    fn rank(&self) -> Option<(bool, u32)> {
        self.fee.map(|fee| (fee.limiter.is_some(), fee.cost))
    }
}

impl Fee<'_> {
    fn has_same_bucket(&self, other: &Fee<'_>) -> bool {
        match (self.limiter, other.limiter) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        }
    }
}
