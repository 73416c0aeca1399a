//! What there is to ask for, and what each costs.

use std::collections::HashMap;

use hyper::Method;

use super::{Wants, path::plain};
use crate::config::Route;

/// Whom a request is for. HEAD is GET without the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    Root,
    Ping,
    Data,
    Upload,
    Submit,
    Health,
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

/// What the configuration says of costs, by path, and then by method.
#[derive(Debug)]
pub(super) struct Charges(HashMap<String, Vec<Route>>);

impl Charges {
    pub(super) fn new(routes: &[Route]) -> Charges {
        let mut charges: HashMap<String, Vec<Route>> = HashMap::new();
        for route in routes {
            charges.entry(route.path.clone()).or_default().push(route.clone());
        }
        Charges(charges)
    }

    /// `None`: never limited.
    #[inline]
    pub(super) fn cost(&self, method: &Method, path: &str, endpoint: Endpoint<'_>) -> Option<u32> {
        if self.0.is_empty() {
            return Some(endpoint.standard_cost());
        }
        self.configured(method, path).map_or(Some(endpoint.standard_cost()), |route| route.cost)
    }

    /// The route of the path as it is written; or a cost, not an exemption, of the path that some upstreams take it for.
    fn configured(&self, method: &Method, path: &str) -> Option<&Route> {
        let plain = || plain(path).and_then(|plain| self.written(method, &plain)).filter(|route| route.cost.is_some());
        self.written(method, path).or_else(plain)
    }

    /// The route of that very method, else for HEAD that of GET, else that of any method.
    fn written(&self, method: &Method, path: &str) -> Option<&Route> {
        let routes = self.0.get(path)?;
        let of = |method: Option<&Method>| routes.iter().find(|route| route.method.as_ref() == method);
        let as_get = || if *method == Method::HEAD { of(Some(&Method::GET)) } else { None };
        of(Some(method)).or_else(as_get).or_else(|| of(None))
    }
}
