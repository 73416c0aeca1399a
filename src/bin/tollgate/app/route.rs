//! What there is to ask for, and what each costs.

use std::{collections::HashMap, sync::Arc};

use hyper::Method;

use super::{Wants, path::plain};
use crate::{
    config::{Route, Settings},
    metrics::{Counts, Metrics},
};

/// Whom a request is for. HEAD is GET without the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    Root,
    Ping,
    Data,
    Upload,
    Submit,
    Health,
    Metrics,
    Check,
    /// A proxy asks whether the request that it has in hand may pass.
    Auth,
    ShowConfig,
    ChangeConfig,
    UpdateRule,
    /// The client's name, percent-encoded.
    RemoveRule(&'a str),
    /// The upstream of this number.
    Upstream(usize),
    Nothing,
}

impl<'a> Endpoint<'a> {
    #[inline]
    pub(super) fn of(method: &Method, path: &'a str) -> Endpoint<'a> {
        match *method {
            // Some proxies ask with the method of the request in hand.
            _ if path == "/auth" => Endpoint::Auth,
            Method::GET | Method::HEAD => match path {
                "/" => Endpoint::Root,
                "/api/ping" => Endpoint::Ping,
                "/api/data" => Endpoint::Data,
                "/health" => Endpoint::Health,
                "/metrics" => Endpoint::Metrics,
                "/config" => Endpoint::ShowConfig,
                _ => Endpoint::Nothing,
            },
            Method::POST => match path {
                "/api/upload" => Endpoint::Upload,
                "/api/submit" => Endpoint::Submit,
                "/check" => Endpoint::Check,
                "/config" => Endpoint::ChangeConfig,
                "/admin/update-rule" => Endpoint::UpdateRule,
                _ => Endpoint::Nothing,
            },
            Method::DELETE => path.strip_prefix("/admin/rule/").map_or(Endpoint::Nothing, Endpoint::RemoveRule),
            _ => Endpoint::Nothing,
        }
    }

    /// What the body is for, when the request may pass.
    pub(super) fn wants(self) -> Wants {
        match self {
            Endpoint::Submit => Wants::Submitted,
            Endpoint::ChangeConfig => Wants::NewDefault,
            Endpoint::UpdateRule => Wants::NewRule,
            Endpoint::Check => Wants::Asked,
            Endpoint::RemoveRule(client_id) => Wants::RuleRemoved(client_id.to_owned()),
            Endpoint::Upstream(number) => Wants::Proxied(number),
            _ => Wants::Nothing,
        }
    }

    fn standard_cost(self) -> u32 {
        if self == Endpoint::Upload { 3 } else { 1 }
    }
}

/// What the configuration says of costs, by path, and then by method; and where requests are counted.
#[derive(Debug)]
pub(super) struct Charges {
    configured: HashMap<String, Vec<Configured>>,
    /// In the order of [`BUILT_IN`].
    built_in: [Arc<Counts>; BUILT_IN.len()],
    /// By the upstreams' numbers.
    upstreams: Vec<Arc<Counts>>,
}

/// What requests are counted as that no route of the configuration is for; the first: what there is not.
const BUILT_IN: [&str; 8] = ["other", "/", "/api/ping", "/api/data", "/api/upload", "/api/submit", "/auth", "/check"];

#[derive(Debug)]
struct Configured {
    route: Route,
    counts: Arc<Counts>,
}

/// What a request costs, and where it is counted.
#[derive(Clone, Copy)]
pub(super) struct Price<'a> {
    /// `None`: never limited.
    pub(super) cost: Option<u32>,
    pub(super) counts: &'a Counts,
}

impl Charges {
    pub(super) fn new(settings: &Settings, metrics: &Metrics) -> Charges {
        let mut configured: HashMap<String, Vec<Configured>> = HashMap::new();
        for route in &settings.routes {
            let counts = metrics.route(&route.label());
            configured.entry(route.path.clone()).or_default().push(Configured { route: route.clone(), counts });
        }
        let upstreams = settings.gateway.iter().flat_map(|gateway| &gateway.upstreams);
        let upstreams = upstreams.map(|upstream| metrics.route(&upstream.prefix)).collect();
        Charges { configured, built_in: BUILT_IN.map(|label| metrics.route(label)), upstreams }
    }

    #[inline]
    pub(super) fn price(&self, method: &Method, path: &str, endpoint: Endpoint<'_>) -> Price<'_> {
        let standard = || Price { cost: Some(endpoint.standard_cost()), counts: self.counts(endpoint) };
        if self.configured.is_empty() {
            return standard();
        }
        match self.configured(method, path) {
            Some(Configured { route, counts }) => Price { cost: route.cost, counts },
            None => standard(),
        }
    }

    /// Where a request is counted that no route of the configuration is for.
    #[inline]
    pub(super) fn counts(&self, endpoint: Endpoint<'_>) -> &Counts {
        let place = match endpoint {
            Endpoint::Upstream(number) => return self.upstreams.get(number).unwrap_or(&self.built_in[0]),
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

    /// The route of the path as it is written; or a cost, not an exemption, of the path that some upstreams take it for.
    fn configured(&self, method: &Method, path: &str) -> Option<&Configured> {
        let costs = |known: &&Configured| known.route.cost.is_some();
        let plain = || plain(path).and_then(|plain| self.written(method, &plain)).filter(costs);
        self.written(method, path).or_else(plain)
    }

    /// The route of that very method, else for HEAD that of GET, else that of any method.
    fn written(&self, method: &Method, path: &str) -> Option<&Configured> {
        let routes = self.configured.get(path)?;
        let of = |method: Option<&Method>| routes.iter().find(|known| known.route.method.as_ref() == method);
        let as_get = || if *method == Method::HEAD { of(Some(&Method::GET)) } else { None };
        of(Some(method)).or_else(as_get).or_else(|| of(None))
    }
}
