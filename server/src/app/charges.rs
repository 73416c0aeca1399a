//! What each request is charged, and where it is counted.

use std::sync::Arc;

use hyper::Method;

use super::{
    endpoint::Endpoint,
    price::Price,
    routes::{Route, Routes},
};
use crate::{
    config::Settings,
    limits::OfRoutes,
    metrics::{Metrics, RouteCounters},
};

/// What the configuration says of routes; and what holds for all others.
pub(super) struct Charges {
    routes: Routes,
    /// In the order of [`BUILT_IN`].
    built_in: [Arc<RouteCounters>; BUILT_IN.len()],
    /// By the upstreams' numbers.
    upstreams: Vec<Arc<RouteCounters>>,
}

/// What requests are counted as that no route of the configuration is for; the first: what there is
/// not.
const BUILT_IN: [&str; 8] = [
    "other",
    "/",
    "/api/ping",
    "/api/data",
    "/api/upload",
    "/api/submit",
    "/auth",
    "/check",
];

impl Charges {
    pub(super) fn new(settings: &Settings, metrics: &Metrics, limits: &OfRoutes) -> Charges {
        let routes = settings.routes.iter().map(|route| {
            let label = route.label();
            Route {
                configured: route.clone(),
                counts: metrics.route(&label),
                limits: limits.get(&label),
            }
        });
        let upstreams = settings
            .gateway
            .iter()
            .flat_map(|gateway| &gateway.upstreams);
        let upstreams = upstreams
            .map(|upstream| metrics.route(&upstream.prefix))
            .collect();
        Charges {
            routes: Routes::new(routes),
            built_in: BUILT_IN.map(|label| metrics.route(label)),
            upstreams,
        }
    }

    #[inline]
    pub(super) fn price(&self, method: &Method, path: &str, endpoint: Endpoint<'_>) -> Price<'_> {
        let standard = Price::standard(endpoint.standard_cost(), self.counts(endpoint));
        if self.routes.is_empty() {
            standard
        } else {
            self.routes.price(method, path, &standard)
        }
    }

    /// Where a request is counted that no route of the configuration is for.
    #[inline]
    pub(super) fn counts(&self, endpoint: Endpoint<'_>) -> &RouteCounters {
        let place = match endpoint {
            Endpoint::Upstream(number) => {
                return self.upstreams.get(number).unwrap_or(&self.built_in[0]);
            }
            Endpoint::Root => 1,
            Endpoint::Ping => 2,
            Endpoint::Data => 3,
            Endpoint::Upload => 4,
            Endpoint::Submit => 5,
            Endpoint::Auth => 6,
            Endpoint::Check => 7,
            _ => 0,
        };
        &self.built_in[place]
    }
}
