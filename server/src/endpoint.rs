//! Endpoints of the server: their methods, paths and default costs.

use hyper::Method;

const ROOT: &str = "/";
const PING: &str = "/api/ping";
const DATA: &str = "/api/data";
/// Path of the endpoint that costs more than 1.
pub(crate) const UPLOAD: &str = "/api/upload";
const SUBMIT: &str = "/api/submit";
const HEALTH: &str = "/health";
const METRICS: &str = "/metrics";
const CHECK: &str = "/check";
const AUTH: &str = "/auth";
const CONFIG: &str = "/config";
const ADMIN_PREFIX: &str = "/admin/";
const UPDATE_RULE: &str = "/admin/update-rule";
/// Followed by a percent-encoded client id.
const RULE_PREFIX: &str = "/admin/rule/";
/// Followed by the name of a limit.
const LIMIT_PREFIX: &str = "/admin/limits/";

/// Default cost of `POST /api/upload`.
pub(crate) const UPLOAD_COST: u32 = 3;

/// Target of a request. HEAD is handled as GET, and hyper omits the body of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Root,
    Ping,
    Data,
    Upload,
    Submit,
    Health,
    Metrics,
    Check,
    /// Decides about a request that a proxy holds back (`auth_request`, `forwardAuth`).
    Auth,
    GetConfig,
    UpdateConfig,
    UpdateRule,
    RemoveRule,
    UpdateLimit,
    /// The upstream with this index.
    Upstream(usize),
    NotFound,
}

impl Endpoint {
    /// Endpoints that are charged and have counters of their own, in the order of
    /// [`Endpoint::counter_index`]. The first one stands for all unknown endpoints.
    pub(crate) const COUNTED: [Endpoint; 8] = [
        Endpoint::NotFound,
        Endpoint::Root,
        Endpoint::Ping,
        Endpoint::Data,
        Endpoint::Upload,
        Endpoint::Submit,
        Endpoint::Auth,
        Endpoint::Check,
    ];

    /// Returns the endpoint of a request to this server itself.
    #[inline]
    pub(crate) fn of(method: &Method, path: &str) -> Endpoint {
        match *method {
            // Some proxies send the method of the original request.
            _ if path == AUTH => Endpoint::Auth,
            Method::GET | Method::HEAD => match path {
                ROOT => Endpoint::Root,
                PING => Endpoint::Ping,
                DATA => Endpoint::Data,
                HEALTH => Endpoint::Health,
                METRICS => Endpoint::Metrics,
                CONFIG => Endpoint::GetConfig,
                _ => Endpoint::NotFound,
            },
            Method::POST => match path {
                UPLOAD => Endpoint::Upload,
                SUBMIT => Endpoint::Submit,
                CHECK => Endpoint::Check,
                CONFIG => Endpoint::UpdateConfig,
                UPDATE_RULE => Endpoint::UpdateRule,
                _ => Endpoint::NotFound,
            },
            Method::DELETE if path.starts_with(RULE_PREFIX) => Endpoint::RemoveRule,
            Method::PUT if path.starts_with(LIMIT_PREFIX) => Endpoint::UpdateLimit,
            _ => Endpoint::NotFound,
        }
    }

    /// Returns true for the admin API and `/metrics`, which are guarded alike.
    #[inline]
    pub(crate) fn is_admin(self) -> bool {
        matches!(
            self,
            Endpoint::Metrics
                | Endpoint::GetConfig
                | Endpoint::UpdateConfig
                | Endpoint::UpdateRule
                | Endpoint::RemoveRule
                | Endpoint::UpdateLimit
        )
    }

    /// Returns the cost of a request where the configuration sets none.
    #[inline]
    pub(crate) fn default_cost(self) -> u32 {
        if self == Endpoint::Upload {
            UPLOAD_COST
        } else {
            1
        }
    }

    /// Returns the index of the endpoint's counters in [`Endpoint::COUNTED`].
    #[inline]
    pub(crate) fn counter_index(self) -> usize {
        match self {
            Endpoint::Root => 1,
            Endpoint::Ping => 2,
            Endpoint::Data => 3,
            Endpoint::Upload => 4,
            Endpoint::Submit => 5,
            Endpoint::Auth => 6,
            Endpoint::Check => 7,
            _ => 0,
        }
    }

    /// Returns the label of the endpoint's counters: its path, or `other` for unknown endpoints.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Endpoint::Root => ROOT,
            Endpoint::Ping => PING,
            Endpoint::Data => DATA,
            Endpoint::Upload => UPLOAD,
            Endpoint::Submit => SUBMIT,
            Endpoint::Health => HEALTH,
            Endpoint::Metrics => METRICS,
            Endpoint::Check => CHECK,
            Endpoint::Auth => AUTH,
            Endpoint::GetConfig | Endpoint::UpdateConfig => CONFIG,
            Endpoint::UpdateRule => UPDATE_RULE,
            Endpoint::RemoveRule => RULE_PREFIX,
            Endpoint::UpdateLimit => LIMIT_PREFIX,
            Endpoint::Upstream(_) | Endpoint::NotFound => "other",
        }
    }
}

/// Returns true if the path is that of an own endpoint that a gateway serves as well.
#[inline]
pub(crate) fn is_reserved(path: &str) -> bool {
    [HEALTH, METRICS, CONFIG].contains(&path) || path.starts_with(ADMIN_PREFIX)
}

/// Returns the form of a path for the log: without a client id, which may be an API key.
pub(crate) fn logged_path(path: &str) -> &str {
    match path.find(RULE_PREFIX) {
        Some(at) => &path[..at + RULE_PREFIX.len()],
        None => path,
    }
}

/// Returns the percent-encoded client id of a `DELETE /admin/rule/{client_id}`.
pub(crate) fn rule_client_id(path: &str) -> Option<&str> {
    path.strip_prefix(RULE_PREFIX)
}

/// Returns the name of the limit of a `PUT /admin/limits/{name}`.
pub(crate) fn limit_name(path: &str) -> Option<&str> {
    path.strip_prefix(LIMIT_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_index_is_the_position_in_counted() {
        for (index, endpoint) in Endpoint::COUNTED.into_iter().enumerate() {
            assert_eq!(endpoint.counter_index(), index, "{endpoint:?}");
        }
    }

    #[test]
    fn logged_paths_end_before_a_client_id() {
        for (path, logged) in [
            ("/admin/rule/secret", "/admin/rule/"),
            ("/_t/admin/rule/secret", "/_t/admin/rule/"),
            ("/admin/rules", "/admin/rules"),
            ("/", "/"),
        ] {
            assert_eq!(logged_path(path), logged);
        }
    }

    #[test]
    fn label_is_the_path_of_the_endpoint() {
        for endpoint in &Endpoint::COUNTED[1..] {
            let found =
                [Method::GET, Method::POST].map(|method| Endpoint::of(&method, endpoint.label()));
            assert!(found.contains(endpoint), "{endpoint:?}");
        }
    }
}
