//! The configuration file: its keys, and how it is read. What is wrong is told in one line.

use std::{fs, net::SocketAddr, path::Path as FilePath};

use hyper::Method;
use ipnet::IpNet;
use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};
use tollgate::{Quota, tower::HeaderStyle};

use super::client::Client;
use crate::values::{
    Check, Fraction, MaxClients, OnRedisError, Path, Period, Rate, RedisMode, RedisPrefix,
    RedisTimeout, RedisUrl, Seconds, Secret, Table, Timeout, Tokens, Typed, UpstreamUrl, Whole,
    present,
};

/// Everything a file may say. `tokens` and `time` are the settings file of the API-key system.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default, deserialize_with = "present")]
    pub(crate) listen: Option<Typed<SocketAddr>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) capacity: Option<Typed<Tokens>>,
    #[serde(default, deserialize_with = "present", alias = "refill-rate")]
    pub(crate) refill_rate: Option<Typed<Rate>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) refill: Option<Table<Refill>>,
    #[serde(default, deserialize_with = "quota")]
    pub(crate) quota: Option<Quota>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) tokens: Option<Typed<Tokens>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) time: Option<Typed<Seconds>>,
    #[serde(default, deserialize_with = "present", alias = "trust-proxy")]
    pub(crate) trust_proxy: Option<Vec<Typed<IpNet>>>,
    #[serde(default, deserialize_with = "present", alias = "admin-token")]
    pub(crate) admin_token: Option<Typed<Secret>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) check: Option<Typed<Check>>,
    #[serde(default, deserialize_with = "present", alias = "check-token")]
    pub(crate) check_token: Option<Typed<Secret>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) headers: Option<Typed<HeaderStyle>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) redis: Option<Typed<RedisUrl>>,
    #[serde(default, deserialize_with = "present", alias = "redis-mode")]
    pub(crate) redis_mode: Option<Typed<RedisMode>>,
    #[serde(default, deserialize_with = "present", alias = "redis-timeout")]
    pub(crate) redis_timeout: Option<Typed<RedisTimeout>>,
    #[serde(default, deserialize_with = "present", alias = "redis-prefix")]
    pub(crate) redis_prefix: Option<Typed<RedisPrefix>>,
    #[serde(default, deserialize_with = "present", alias = "on-redis-error")]
    pub(crate) on_redis_error: Option<Typed<OnRedisError>>,
    #[serde(default, deserialize_with = "present", alias = "local-share")]
    pub(crate) local_share: Option<Typed<Fraction>>,
    #[serde(default, deserialize_with = "present", alias = "lease-fraction")]
    pub(crate) lease_fraction: Option<Typed<Fraction>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) upstream: Option<Typed<UpstreamUrl>>,
    #[serde(default)]
    pub(crate) upstreams: Vec<Table<Upstream>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) gateway: Option<Table<Gateway>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) client: Option<Client>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) api_keys: Option<Vec<Typed<Secret>>>,
    #[serde(default)]
    pub(crate) routes: Vec<Table<Route>>,
    #[serde(default)]
    pub(crate) rules: Vec<Table<Rule>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) ipv6_prefix: Option<Typed<Whole<1, 128>>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) max_clients: Option<Typed<MaxClients>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) connections: Option<Table<Connections>>,
}

/// `refill = { every = "1h", mode = "interval" }`, or greedy: `{ tokens = 5, every = "1s" }`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refill {
    #[serde(default)]
    pub(crate) mode: Mode,
    /// Greedy only; the capacity when it is left out.
    #[serde(default, deserialize_with = "tokens")]
    pub(crate) tokens: Option<Tokens>,
    #[serde(deserialize_with = "period")]
    pub(crate) every: Period,
}

fn tokens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Tokens>, D::Error> {
    Typed::deserialize(deserializer).map(|Typed(tokens)| Some(tokens))
}

fn period<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
    Typed::deserialize(deserializer).map(|Typed(period)| period)
}

/// As the library reads it; its error says what is wrong, and not what was there.
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

/// What a request costs, which limits it has of its own, or that it is never limited, by path and,
/// if given, method.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    #[serde(default, deserialize_with = "present")]
    pub(crate) method: Option<Typed<Method>>,
    pub(crate) path: Typed<Path>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) cost: Option<Typed<Tokens>>,
    #[serde(default)]
    pub(crate) exempt: bool,
    #[serde(default, deserialize_with = "present")]
    pub(crate) capacity: Option<Typed<Tokens>>,
    #[serde(default, deserialize_with = "present", alias = "refill-rate")]
    pub(crate) refill_rate: Option<Typed<Rate>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) refill: Option<Table<Refill>>,
    #[serde(default, deserialize_with = "quota")]
    pub(crate) quota: Option<Quota>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) max_clients: Option<Typed<MaxClients>>,
}

/// One client's own limits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) client_id: String,
    pub(crate) capacity: Typed<Tokens>,
    pub(crate) refill_rate: Typed<Rate>,
}

/// Where requests to a part of the paths go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    pub(crate) prefix: Typed<Path>,
    pub(crate) url: Typed<UpstreamUrl>,
}

/// What upstreams may use up.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gateway {
    #[serde(default, deserialize_with = "present")]
    pub(crate) connect_timeout: Option<Typed<Timeout<1>>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) response_timeout: Option<Typed<Timeout<1>>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) idle_timeout: Option<Typed<Timeout<1>>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) keep_alive: Option<Typed<Timeout<0>>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) max_idle: Option<Typed<Whole<0, 1_000_000>>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) max_requests: Option<Typed<Whole<1, 1_000_000>>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) tunnel_timeout: Option<Typed<Timeout<100>>>,
}

/// What connections may use up.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connections {
    #[serde(default, deserialize_with = "present")]
    pub(crate) max: Option<Typed<Whole<1, 1_000_000>>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) header_timeout: Option<Typed<Timeout<100>>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) idle_timeout: Option<Typed<Timeout<100>>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) body_timeout: Option<Typed<Timeout<100>>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) shutdown_grace: Option<Typed<Timeout<0>>>,
    #[serde(default, deserialize_with = "present")]
    /// hyper's smallest buffer is 8 KiB.
    pub(crate) max_header_bytes: Option<Typed<Whole<8192, 1_048_576>>>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) max_body_bytes: Option<Typed<Whole<0, 1_073_741_824>>>,
}

impl File {
    /// Reads a file, TOML or JSON by its ending.
    pub(crate) fn read(path: &FilePath) -> Result<File, String> {
        let parse = match path.extension().and_then(|ending| ending.to_str()) {
            Some("toml") => from_toml,
            Some("json") => from_json,
            _ => {
                return Err(format!(
                    "--config: {}: expected a file that ends in .toml or .json",
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
    let deserializer = toml::Deserializer::parse(text).map_err(|error| {
        one_line(&format!(
            "not TOML: {}{}",
            error.message(),
            place(text, &error)
        ))
    })?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let message = format!("{}{}", error.inner().message(), place(text, error.inner()));
        one_line(&with_path(&error.path().to_string(), &message))
    })
}

/// The line, and the key in it: not its value, which may be a secret.
fn place(text: &str, error: &toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return String::new();
    };
    let number = before.matches('\n').count();
    let key = text
        .lines()
        .nth(number)
        .and_then(|line| line.split_once('='))
        .map_or("", |(key, _)| key.trim());
    format!(
        ", in line {}{}{key}",
        number + 1,
        if key.is_empty() { "" } else { ": " }
    )
}

pub(crate) fn from_json(text: &str) -> Result<File, String> {
    // Some editors begin a file with a byte-order mark, which is no part of JSON. TOML knows it.
    let mut deserializer = serde_json::Deserializer::from_str(text.trim_start_matches('\u{feff}'));
    let Table(file) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        one_line(&with_path(
            &error.path().to_string(),
            &error.inner().to_string(),
        ))
    })?;
    deserializer
        .end()
        .map_err(|error| format!("not JSON: {error}"))?;
    Ok(file)
}

/// Errors at the top have no path, which shows as a dot.
fn with_path(path: &str, message: &str) -> String {
    if path == "." {
        message.to_owned()
    } else {
        format!("{path}: {message}")
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
