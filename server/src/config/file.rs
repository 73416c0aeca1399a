//! The configuration file: its keys.

mod jwt;
mod limit;
mod networks;
mod parse;
mod refusal;

use std::{
    fs,
    net::SocketAddr,
    path::{Path as FilePath, PathBuf},
};

use hyper::{Method, header::HeaderName};
use ipnet::IpNet;
use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};
use tollgate::{Quota, tower::HeaderStyle};

pub(crate) use self::{
    jwt::Jwt,
    limit::{Ban, Cost, HeaderCondition, Limit, LimitCost, Missing},
    networks::Networks,
    refusal::{Refusal, Text},
};
use crate::values::{
    AdminAddress, Check, Client, ClockTolerance, Fraction, MaxClients, MaxDelay, Nat64Prefix,
    OnRedisError, Origin, Path, Period, PolicyName, Preflight, Rate, RedisMode, RedisPrefix,
    RedisTimeout, RedisUrl, Seconds, Secret, Timeout, Tokens, UpstreamUrl, Whole, optional,
    optional_list, optional_table, present, required, tables,
};

/// All keys of the file. `tokens` and `time` are those of the API-key system's settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default, deserialize_with = "optional")]
    pub(crate) listen: Option<SocketAddr>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) capacity: Option<Tokens>,
    #[serde(default, deserialize_with = "optional", alias = "refill-rate")]
    pub(crate) refill_rate: Option<Rate>,
    #[serde(default, deserialize_with = "optional_table")]
    pub(crate) refill: Option<Refill>,
    #[serde(default, deserialize_with = "quota")]
    pub(crate) quota: Option<Quota>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) tokens: Option<Tokens>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) time: Option<Seconds>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) delay: Option<MaxDelay>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max_delayed_per_client: Option<Whole<1, 1_000_000>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max_delayed: Option<Whole<1, 1_000_000>>,
    #[serde(default, deserialize_with = "optional_list", alias = "trust-proxy")]
    pub(crate) trust_proxy: Option<Vec<IpNet>>,
    #[serde(
        default,
        deserialize_with = "optional",
        alias = "client-address-header"
    )]
    pub(crate) client_address_header: Option<HeaderName>,
    #[serde(default, deserialize_with = "optional", alias = "admin-token")]
    pub(crate) admin_token: Option<Secret>,
    #[serde(default, deserialize_with = "optional", alias = "admin-listen")]
    pub(crate) admin_listen: Option<AdminAddress>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) check: Option<Check>,
    #[serde(default, deserialize_with = "optional", alias = "check-token")]
    pub(crate) check_token: Option<Secret>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) headers: Option<HeaderStyle>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) state: Option<PathBuf>,
    #[serde(default, deserialize_with = "optional", alias = "state-copy")]
    pub(crate) state_copy: Option<PathBuf>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) redis: Option<RedisUrl>,
    #[serde(default, deserialize_with = "optional", alias = "redis-mode")]
    pub(crate) redis_mode: Option<RedisMode>,
    #[serde(default, deserialize_with = "optional", alias = "redis-timeout")]
    pub(crate) redis_timeout: Option<RedisTimeout>,
    #[serde(
        default,
        deserialize_with = "optional",
        alias = "redis-clock-tolerance"
    )]
    pub(crate) redis_clock_tolerance: Option<ClockTolerance>,
    #[serde(default, deserialize_with = "optional", alias = "redis-prefix")]
    pub(crate) redis_prefix: Option<RedisPrefix>,
    #[serde(default, deserialize_with = "optional", alias = "on-redis-error")]
    pub(crate) on_redis_error: Option<OnRedisError>,
    #[serde(default, deserialize_with = "optional", alias = "local-share")]
    pub(crate) local_share: Option<Fraction>,
    #[serde(default, deserialize_with = "optional", alias = "lease-fraction")]
    pub(crate) lease_fraction: Option<Fraction>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) upstream: Option<UpstreamUrl>,
    #[serde(default, deserialize_with = "tables")]
    pub(crate) upstreams: Vec<Upstream>,
    #[serde(default, deserialize_with = "optional_table")]
    pub(crate) gateway: Option<Gateway>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) client: Option<Client>,
    #[serde(default, deserialize_with = "optional_list")]
    pub(crate) api_keys: Option<Vec<Secret>>,
    #[serde(default, deserialize_with = "tables")]
    pub(crate) routes: Vec<Route>,
    #[serde(default)]
    pub(crate) allow: Option<Networks>,
    #[serde(default)]
    pub(crate) deny: Option<Networks>,
    #[serde(default, deserialize_with = "tables")]
    pub(crate) limits: Vec<Limit>,
    #[serde(default, deserialize_with = "optional_table")]
    pub(crate) refusal: Option<Refusal>,
    #[serde(default, deserialize_with = "optional_table")]
    pub(crate) jwt: Option<Jwt>,
    #[serde(default, rename = "plans")]
    _plans: Option<limit::Unsupported>,
    #[serde(default)]
    pub(crate) case_sensitive_paths: bool,
    #[serde(default, deserialize_with = "tables")]
    pub(crate) rules: Vec<Rule>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) ipv6_prefix: Option<Whole<1, 128>>,
    #[serde(default, deserialize_with = "optional_list")]
    pub(crate) nat64_prefixes: Option<Vec<Nat64Prefix>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max_clients: Option<MaxClients>,
    #[serde(default, deserialize_with = "optional_table")]
    pub(crate) connections: Option<Connections>,
    #[serde(default, deserialize_with = "optional_table")]
    pub(crate) cors: Option<Cors>,
}

/// `refill = { every = "1h", mode = "interval" }`, or greedy: `{ tokens = 5, every = "1s" }`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refill {
    #[serde(default)]
    pub(crate) mode: Mode,
    /// Only with `greedy`. Defaults to the capacity.
    #[serde(default, deserialize_with = "optional")]
    pub(crate) tokens: Option<Tokens>,
    #[serde(deserialize_with = "required")]
    pub(crate) every: Period,
}

/// Deserializes a quota as the library does, and adds the text to the error.
fn quota<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Quota>, D::Error> {
    struct QuotaVisitor;

    impl<'de> de::Visitor<'de> for QuotaVisitor {
        type Value = Quota;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a quota such as \"100/hour, capacity 20\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Quota, E> {
            text.parse()
                .map_err(|error| E::custom(format!("{text:?}: {error}")))
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Quota, A::Error> {
            Quota::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_any(QuotaVisitor).map(Some)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    #[default]
    Greedy,
    Interval,
}

/// Cost, quota or exemption of the requests to a path, optionally of one method.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    #[serde(default, deserialize_with = "optional")]
    pub(crate) method: Option<Method>,
    #[serde(deserialize_with = "required")]
    pub(crate) path: Path,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) name: Option<PolicyName>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) cost: Option<Tokens>,
    #[serde(default)]
    pub(crate) exempt: bool,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) capacity: Option<Tokens>,
    #[serde(default, deserialize_with = "optional", alias = "refill-rate")]
    pub(crate) refill_rate: Option<Rate>,
    #[serde(default, deserialize_with = "optional_table")]
    pub(crate) refill: Option<Refill>,
    #[serde(default, deserialize_with = "quota")]
    pub(crate) quota: Option<Quota>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) tokens: Option<Tokens>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) time: Option<Seconds>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max_clients: Option<MaxClients>,
}

/// A client's own quota.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) client_id: String,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) capacity: Option<Tokens>,
    #[serde(default, deserialize_with = "optional", alias = "refill-rate")]
    pub(crate) refill_rate: Option<Rate>,
    #[serde(default, deserialize_with = "optional_table")]
    pub(crate) refill: Option<Refill>,
    #[serde(default, deserialize_with = "quota")]
    pub(crate) quota: Option<Quota>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) tokens: Option<Tokens>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) time: Option<Seconds>,
}

/// Upstream of the paths below a prefix.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    #[serde(deserialize_with = "required")]
    pub(crate) prefix: Path,
    #[serde(deserialize_with = "required")]
    pub(crate) url: UpstreamUrl,
}

/// Limits of the connections to upstreams.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gateway {
    #[serde(default, deserialize_with = "optional")]
    pub(crate) connect_timeout: Option<Timeout<1>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) response_timeout: Option<Timeout<1>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) idle_timeout: Option<Timeout<1>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) keep_alive: Option<Timeout<0>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max_idle: Option<Whole<0, 1_000_000>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max_requests: Option<Whole<1, 1_000_000>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max_concurrent_per_client: Option<Whole<1, 1_000_000>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max_tunnels_per_client: Option<Whole<0, 1_000_000>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) tunnel_timeout: Option<Timeout<100>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) own_prefix: Option<Path>,
    #[serde(default, deserialize_with = "optional_list")]
    pub(crate) pass_headers: Option<Vec<HeaderName>>,
}

/// Cross-origin requests of browsers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cors {
    #[serde(default, deserialize_with = "optional_list")]
    pub(crate) origins: Option<Vec<Origin>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) preflight: Option<Preflight>,
    #[serde(default)]
    pub(crate) credentials: bool,
    #[serde(default, deserialize_with = "optional", alias = "max-age")]
    pub(crate) max_age: Option<Timeout<0>>,
}

/// Limits of client connections.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connections {
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max: Option<Whole<1, 1_000_000>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max_per_address: Option<Whole<1, 1_000_000>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) header_timeout: Option<Timeout<100>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) idle_timeout: Option<Timeout<100>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) body_timeout: Option<Timeout<100>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) stall_timeout: Option<Timeout<100>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) shutdown_grace: Option<Timeout<0>>,
    /// The minimum is hyper's smallest buffer, 8 KiB.
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max_header_bytes: Option<Whole<8192, 1_048_576>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max_body_bytes: Option<Whole<0, 1_073_741_824>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max_unread_bytes: Option<Whole<1_048_576, 1_099_511_627_776>>,
    #[serde(default, deserialize_with = "optional")]
    pub(crate) max_unread_bytes_per_connection: Option<Whole<1_048_576, 1_099_511_627_776>>,
}

impl File {
    /// Returns true if the file contains tokens, API keys or a password.
    pub(super) fn has_secrets(&self) -> bool {
        let has_keys = matches!(self.client, Some(Client::Header(_))) && !self.rules.is_empty()
            || self.api_keys.as_ref().is_some_and(|keys| !keys.is_empty());
        has_keys
            || self.admin_token.is_some()
            || self.check_token.is_some()
            || self.redis.as_ref().is_some_and(RedisUrl::has_password)
    }

    /// Reads a file as TOML or JSON, by its file name extension.
    pub(crate) fn read(path: &FilePath) -> Result<File, String> {
        let parse = match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => from_toml,
            Some("json") => from_json,
            _ => {
                return Err(format!(
                    "--config: expected a file that ends in .toml or .json, got {}",
                    path.display()
                ));
            }
        };
        let text = fs::read_to_string(path)
            .map_err(|error| format!("--config: {}: {error}", path.display()))?;
        parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    }
}

pub(crate) fn from_toml(text: &str) -> Result<File, String> {
    parse::toml(text)
}

pub(crate) fn from_json(text: &str) -> Result<File, String> {
    parse::json(text)
}
