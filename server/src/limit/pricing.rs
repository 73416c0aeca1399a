//! Pricing of requests by endpoint and configured route.

use std::sync::Arc;

use hyper::Method;

use super::{
    named_limits::NamedLimits,
    price::{OwnLimit, Price},
    routes::{Route, Routes},
};
use crate::{
    config::Settings,
    endpoint::Endpoint,
    metrics::{Metrics, RouteCounters},
    request::{original::OriginalRequest, path::PathError},
};

/// Prices of all requests under a configuration.
pub(crate) struct Pricing {
    routes: Routes,
    /// Counters of [`Endpoint::COUNTED`], in the same order.
    endpoints: [Arc<RouteCounters>; Endpoint::COUNTED.len()],
    /// By the index of the upstream.
    upstreams: Vec<Arc<RouteCounters>>,
    /// Some route applies to one method.
    depends_on_method: bool,
}

impl Pricing {
    pub(crate) fn new(settings: &Settings, metrics: &Metrics, limits: &NamedLimits) -> Pricing {
        let routes = settings.routes.iter().map(|route| {
            let label = route.label();
            Route {
                configured: route.clone(),
                counters: metrics.route(&label),
                own: limits.get(&label).map(|limiter| OwnLimit {
                    limiter,
                    policy: route.policy().into(),
                }),
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
            routes: Routes::new(routes, settings.case_sensitive_paths),
            endpoints: Endpoint::COUNTED.map(|endpoint| metrics.route(endpoint.label())),
            upstreams,
            depends_on_method: settings.routes.iter().any(|route| route.method.is_some()),
        }
    }

    /// Returns true if the price of a request depends on its method.
    #[inline]
    pub(crate) fn depends_on_method(&self) -> bool {
        self.depends_on_method
    }

    /// Returns the price of a request.
    #[inline]
    pub(crate) fn price(
        &self,
        method: &Method,
        path: &str,
        endpoint: Endpoint,
    ) -> Result<Price<'_>, PathError> {
        let default = Price::new(endpoint.default_cost(), self.counters(endpoint));
        if self.routes.is_empty() {
            Ok(default)
        } else {
            self.routes.price(method, path, &default)
        }
    }

    /// Returns the price of a request that its upstream may serve as one of other methods.
    #[inline]
    pub(crate) fn price_of_all(
        &self,
        (method, others): (&Method, &[Method]),
        path: &str,
        endpoint: Endpoint,
    ) -> Result<Price<'_>, PathError> {
        let price = self.price(method, path, endpoint)?;
        others.iter().try_fold(price, |price, other| {
            Ok(price.combine(self.price(other, path, endpoint)?))
        })
    }

    /// Returns the price of an original request behind `/auth`, where `method` and `path` are those
    /// of the request to `/auth` itself and stand in for missing headers. The service behind the
    /// proxy may serve the request as one of `others`.
    pub(crate) fn original_price(
        &self,
        (method, others): (&Method, &[Method]),
        path: &str,
        original: &OriginalRequest<'_>,
    ) -> Result<Price<'_>, PathError> {
        let OriginalRequest { methods, paths, .. } = original;
        let given = methods.iter().chain(methods.is_empty().then_some(method));
        let methods = given.chain(others);
        let paths = || {
            let given = paths.iter().map(|path| &**path);
            given.chain(paths.is_empty().then_some(path))
        };
        let mut prices =
            methods.flat_map(|method| paths().map(|path| self.price(method, path, Endpoint::Auth)));
        let first = prices
            .next()
            .unwrap_or_else(|| self.price(method, path, Endpoint::Auth))?;
        prices.try_fold(first, |price, other| Ok(price.combine(other?)))
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
