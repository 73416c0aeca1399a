//! What the server runs with: flags win over the environment, the environment over the file, the
//! file over the defaults.

mod client;
mod file;
mod quota;
mod redis;
mod routes;
mod settings;
#[cfg(test)]
mod tests;
mod upstream;

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use tollgate::{Quota, tower::HeaderStyle};

pub(crate) use self::{
    client::Client,
    file::File,
    redis::Redis,
    routes::{Own, Route},
    upstream::{Gateway, Times, Upstream},
};
use crate::{
    cli::Serve,
    values::{Check, Secret, Table, Typed},
};

/// Rules cost some 200 bytes each, and every change copies the list.
pub(crate) const MAX_RULES: usize = 10_000;

/// A gateway holds no bodies, so that they may be longer.
const MAX_PROXIED_BYTES: usize = 64 * 1024 * 1024;

/// All settings, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) quota: Quota,
    pub(crate) trust_proxy: Vec<IpNet>,
    pub(crate) admin_token: Option<Secret>,
    pub(crate) check: Check,
    pub(crate) check_token: Option<Secret>,
    pub(crate) headers: HeaderStyle,
    pub(crate) client: Client,
    pub(crate) api_keys: Option<HashSet<String>>,
    pub(crate) routes: Vec<Route>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) ipv6_prefix: u8,
    pub(crate) max_clients: usize,
    /// Where buckets are shared with other instances; `None`: in memory.
    pub(crate) redis: Option<Redis>,
    /// Where allowed requests go; `None`: they are answered here.
    pub(crate) gateway: Option<Gateway>,
    pub(crate) bounds: Bounds,
}

/// One client's own quota.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) client_id: String,
    pub(crate) quota: Quota,
}

/// What clients may use up beside tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) max_connections: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) shutdown_grace: Duration,
    pub(crate) max_header_bytes: usize,
    pub(crate) max_body_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(10),
            max_header_bytes: 16 * 1024,
            max_body_bytes: 1024 * 1024,
        }
    }
}

impl Settings {
    /// Reads the file that the flags or the environment name, and puts them over it. An error is
    /// one line.
    pub(crate) fn load(flags: Serve) -> Result<Settings, String> {
        let file = flags
            .config
            .as_deref()
            .map_or_else(|| Ok(File::default()), File::read)?;
        Settings::merge(flags, file)
    }

    pub(crate) fn merge(flags: Serve, file: File) -> Result<Settings, String> {
        let quota = quota::of(&file, flags.capacity, flags.refill_rate)?;
        let gateway = upstream::of(&flags, &file)?;
        let bounds = bounds(&file, gateway.is_some());
        let redis = redis::of(&flags, &file)?;
        let client = file.client.unwrap_or(Client::Ip);
        if client == Client::Ip && file.api_keys.is_some() {
            return Err(
                "api_keys: expected with client = { header = \"X-API-Key\" } only".to_owned(),
            );
        }
        let check = flags
            .check
            .or(file.check.map(|check| check.0))
            .unwrap_or_default();
        let check_token = flags.check_token.or(file.check_token.map(|token| token.0));
        if check == Check::Open && check_token.is_some() {
            return Err("check_token: expected with check guarded only".to_owned());
        }
        Ok(Settings {
            listen: flags
                .listen
                .or(file.listen.map(|listen| listen.0))
                .unwrap_or((Ipv4Addr::LOCALHOST, 8000).into()),
            quota,
            trust_proxy: match flags.trust_proxy {
                flags if flags.is_empty() => plain(file.trust_proxy.unwrap_or_default()).collect(),
                flags => flags,
            },
            admin_token: flags.admin_token.or(file.admin_token.map(|token| token.0)),
            check,
            check_token,
            headers: flags
                .headers
                .or(file.headers.map(|headers| headers.0))
                .unwrap_or_default(),
            client,
            api_keys: file
                .api_keys
                .map(|keys| plain(keys).map(|Secret(key)| key).collect()),
            routes: routes::of(file.routes, gateway.is_some())?,
            rules: rules(file.rules)?,
            // The kind has checked that it is at most 128.
            ipv6_prefix: file.ipv6_prefix.map_or(64, |prefix| prefix.0.0 as u8),
            max_clients: file
                .max_clients
                .map_or(1_000_000, |clients| clients.0.size()),
            redis,
            gateway,
            bounds,
        })
    }
}

fn plain<T>(values: Vec<Typed<T>>) -> impl Iterator<Item = T> {
    values.into_iter().map(|Typed(value)| value)
}

fn bounds(file: &File, gateway: bool) -> Bounds {
    let mut standard = Bounds::default();
    if gateway {
        standard.max_body_bytes = MAX_PROXIED_BYTES;
    }
    let Some(Table(given)) = &file.connections else {
        return standard;
    };
    Bounds {
        max_connections: given
            .max
            .as_ref()
            .map_or(standard.max_connections, |max| max.0.size()),
        header_timeout: given
            .header_timeout
            .as_ref()
            .map_or(standard.header_timeout, |time| time.0.0),
        idle_timeout: given
            .idle_timeout
            .as_ref()
            .map_or(standard.idle_timeout, |time| time.0.0),
        body_timeout: given
            .body_timeout
            .as_ref()
            .map_or(standard.body_timeout, |time| time.0.0),
        shutdown_grace: given
            .shutdown_grace
            .as_ref()
            .map_or(standard.shutdown_grace, |time| time.0.0),
        max_header_bytes: given
            .max_header_bytes
            .as_ref()
            .map_or(standard.max_header_bytes, |bytes| bytes.0.size()),
        max_body_bytes: given
            .max_body_bytes
            .as_ref()
            .map_or(standard.max_body_bytes, |bytes| bytes.0.size()),
    }
}

fn rules(given: Vec<Table<file::Rule>>) -> Result<Vec<Rule>, String> {
    if given.len() > MAX_RULES {
        return Err(format!(
            "rules: {} of them: expected at most {MAX_RULES}",
            given.len()
        ));
    }
    let rule = |(number, Table(rule)): (usize, Table<file::Rule>)| {
        let quota = Quota::from_rate(rule.capacity.0.0, rule.refill_rate.0.0);
        Ok(Rule {
            client_id: rule.client_id,
            quota: quota.map_err(|error| format!("rules[{number}]: {error}"))?,
        })
    };
    given.into_iter().enumerate().map(rule).collect()
}

/// The settings of a TOML file, without flags.
#[cfg(test)]
pub(crate) fn settings(toml: &str) -> Settings {
    Settings::merge(Serve::default(), file::from_toml(toml).unwrap()).unwrap()
}
