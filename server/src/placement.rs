//! Ports and paths at which the server's own endpoints are served.
//!
//! On one port, own endpoints are at their paths; in a gateway, a prefix can move them, so that the
//! upstream's paths of the same name are reachable. With an admin port, the admin endpoints leave
//! the public port, and in a gateway all own endpoints do.

use hyper::Method;

use crate::endpoint::{Endpoint, is_reserved};

/// Port that a request arrived on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Public,
    Admin,
}

/// Ports and paths of own endpoints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placement {
    /// Prefix of own endpoints on the public port of a gateway, such as `/_tollgate`; empty: they
    /// are at their own paths. `None`: the server is not a gateway.
    pub(crate) gateway_prefix: Option<String>,
    pub(crate) has_admin_port: bool,
    /// `POST /check` is open to all clients, so it is on the public port as well.
    pub(crate) is_check_open: bool,
}

impl Placement {
    /// Returns the own endpoint of a request on the public port, or `None` if the request is the
    /// upstream's.
    #[inline]
    pub(crate) fn on_public_port(&self, method: &Method, path: &str) -> Option<Endpoint> {
        let endpoint = match &self.gateway_prefix {
            None => Endpoint::of(method, path),
            Some(_) => Endpoint::of(method, self.own_path(path)?),
        };
        let has_left = match endpoint {
            Endpoint::Check => self.has_admin_port && !self.is_check_open,
            Endpoint::Health => false,
            _ if self.gateway_prefix.is_some() => !endpoint.is_admin(),
            _ => self.has_admin_port && endpoint.is_admin(),
        };
        Some(if has_left {
            Endpoint::NotFound
        } else {
            endpoint
        })
    }

    /// Returns the endpoint of a request on the admin port.
    pub(crate) fn on_admin_port(method: &Method, path: &str) -> Endpoint {
        match Endpoint::of(method, path) {
            own @ (Endpoint::Health | Endpoint::Check) => own,
            admin if admin.is_admin() => admin,
            _ => Endpoint::NotFound,
        }
    }

    /// Returns the path of an own endpoint in a gateway, without the prefix; `None` if the path is
    /// the upstream's.
    pub(crate) fn own_path<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self.gateway_prefix.as_deref() {
            None => Some(path),
            Some(_) if self.has_admin_port => None,
            Some("") => is_reserved(path).then_some(path),
            Some(prefix) => path
                .strip_prefix(prefix)
                .filter(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }

    /// Returns true if requests to the path on the public port are never limited.
    pub(crate) fn is_unlimited(&self, path: &str) -> bool {
        if self.gateway_prefix.is_some() {
            return self.own_path(path).is_some();
        }
        let is_health = Endpoint::of(&Method::GET, path) == Endpoint::Health;
        let is_check = Endpoint::of(&Method::POST, path) == Endpoint::Check;
        let has_left = self.has_admin_port && !is_health && !(is_check && self.is_check_open);
        (is_reserved(path) || is_check) && !has_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(prefix: &str) -> Placement {
        Placement {
            gateway_prefix: Some(prefix.to_owned()),
            ..Placement::default()
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let placement = gateway("/_t");
        for (path, own) in [
            ("/_t", Some("")),
            ("/_t/", Some("/")),
            ("/_t/config", Some("/config")),
            ("/_tx/config", None),
            ("/config", None),
            ("//_t/config", None),
        ] {
            assert_eq!(placement.own_path(path), own, "{path}");
        }
    }

    #[test]
    fn a_gateway_serves_its_reserved_paths_only() {
        let get = |path| gateway("").on_public_port(&Method::GET, path);
        assert_eq!(get("/health"), Some(Endpoint::Health));
        assert_eq!(get("/metrics"), Some(Endpoint::Metrics));
        assert_eq!(get("/admin/unknown"), Some(Endpoint::NotFound));
        assert_eq!(get("/"), None);
        assert_eq!(gateway("").on_public_port(&Method::POST, "/check"), None);
    }

    #[test]
    fn the_admin_port_serves_own_endpoints_only() {
        let on = |method: Method, path| Placement::on_admin_port(&method, path);
        assert_eq!(on(Method::GET, "/config"), Endpoint::GetConfig);
        assert_eq!(on(Method::GET, "/health"), Endpoint::Health);
        assert_eq!(on(Method::POST, "/check"), Endpoint::Check);
        for path in ["/", "/auth", "/api/data", "/nothing"] {
            assert_eq!(on(Method::GET, path), Endpoint::NotFound, "{path}");
        }
    }
}
