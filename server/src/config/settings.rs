//! All settings: merged from flags, environment, file and defaults, and validated.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
};

use hyper::header::HeaderName;
use ipnet::IpNet;
use tollgate::{Quota, tower::HeaderStyle};

use super::{
    client::Client,
    connections::ConnectionLimits,
    cors::Cors,
    file::File,
    quota,
    redis::Redis,
    routes::{self, Route},
    rules::{self, Rule},
    upstream::Gateway,
};
use crate::{
    cli::Serve,
    values::{Check, Secret},
};

/// All settings, validated.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) quota: Quota,
    pub(crate) trust_proxy: Vec<IpNet>,
    /// Header of trusted proxies that names the client; `None`: `X-Forwarded-For` and `Forwarded`.
    pub(crate) client_address_header: Option<HeaderName>,
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
    /// Redis that shares buckets with other instances; `None`: buckets in memory.
    pub(crate) redis: Option<Redis>,
    /// Upstreams of allowed requests; `None`: this server's own handlers respond.
    pub(crate) gateway: Option<Gateway>,
    /// Request headers that a gateway passes on although it removes them by default.
    pub(crate) pass_headers: Vec<HeaderName>,
    pub(crate) connections: ConnectionLimits,
    /// `None`: no other origins are allowed.
    pub(crate) cors: Option<Cors>,
}

impl Settings {
    /// Reads the file that the flags or the environment name, and merges it with them. An error is
    /// one line.
    pub(crate) fn load(flags: Serve) -> Result<Settings, String> {
        let file = flags
            .config
            .as_deref()
            .map_or_else(|| Ok(File::default()), File::read)?;
        Settings::merge(flags, file)
    }

    pub(super) fn merge(flags: Serve, file: File) -> Result<Settings, String> {
        let quota = quota::of_default(&file, flags.capacity, flags.refill_rate)?;
        let gateway = Gateway::merge(&flags, &file)?;
        let redis = Redis::merge(&flags, &file)?;
        let connections = ConnectionLimits::merge(file.connections, gateway.is_some())?;
        let client = file.client.unwrap_or(Client::Ip);
        let api_keys = client.api_keys(file.api_keys)?;
        let trust_proxy = match flags.trust_proxy {
            flags if flags.is_empty() => file.trust_proxy.unwrap_or_default(),
            flags => flags,
        };
        let client_address_header = flags.client_address_header.or(file.client_address_header);
        if let (Some(header), true) = (&client_address_header, trust_proxy.is_empty()) {
            return Err(format!(
                "client_address_header: expected trust_proxy beside it, got {header} alone"
            ));
        }
        let pass_headers = file.gateway.and_then(|gateway| gateway.pass_headers);
        let pass_headers = client.pass_headers(
            client_address_header.as_ref(),
            pass_headers.unwrap_or_default(),
        )?;
        let cors = file.cors.map(|cors| Cors::merge(cors, gateway.is_some()));
        let check = flags.check.or(file.check).unwrap_or_default();
        let check_token = flags.check_token.or(file.check_token);
        if check == Check::Open && check_token.is_some() {
            return Err(
                "check_token: expected check = \"guarded\" beside it, got \"open\"".to_owned(),
            );
        }
        Ok(Settings {
            listen: flags
                .listen
                .or(file.listen)
                .unwrap_or((Ipv4Addr::LOCALHOST, 8000).into()),
            quota,
            trust_proxy,
            client_address_header,
            admin_token: flags.admin_token.or(file.admin_token),
            check,
            check_token,
            headers: flags.headers.or(file.headers).unwrap_or_default(),
            api_keys,
            routes: routes::merge(file.routes, gateway.is_some())?,
            rules: rules::merge(file.rules, &client)?,
            client,
            // The value's type bounds it to 128.
            ipv6_prefix: file.ipv6_prefix.map_or(64, |prefix| prefix.get() as u8),
            max_clients: file.max_clients.map_or(1_000_000, |clients| clients.size()),
            redis,
            gateway,
            pass_headers,
            connections,
            cors: cors.transpose()?,
        })
    }

    /// Copies from the current settings those that only a restart changes. Returns the keys whose
    /// new value is therefore ignored.
    pub(crate) fn retain_restart_only(&mut self, current: &Settings) -> Vec<&'static str> {
        let mut ignored = Vec::new();
        let mut differs = |key, differs: bool| {
            if differs {
                ignored.push(key);
            }
            differs
        };
        if differs("listen", self.listen != current.listen) {
            self.listen = current.listen;
        }
        // The table of clients stays, so an entry must mean the same client before and after.
        if differs("client", self.client != current.client)
            | differs("ipv6_prefix", self.ipv6_prefix != current.ipv6_prefix)
        {
            (self.client, self.ipv6_prefix) = (current.client.clone(), current.ipv6_prefix);
            // The new ones name clients of the other kind.
            (self.api_keys, self.rules) = (current.api_keys.clone(), current.rules.clone());
        }
        if differs("max_clients", self.max_clients != current.max_clients) {
            self.max_clients = current.max_clients;
        }
        if differs("redis", self.redis != current.redis) {
            self.redis = current.redis.clone();
        }
        // Connections are set up with or without support for upgrades.
        let kind_differs = differs(
            "upstream",
            self.gateway.is_some() != current.gateway.is_some(),
        );
        if kind_differs {
            self.gateway = current.gateway.clone();
        }
        // Their defaults depend on whether there is an upstream.
        if kind_differs || differs("connections", self.connections != current.connections) {
            self.connections = current.connections;
        }
        // Instances share the default quota in Redis: one instance's file does not change it, but
        // POST /config does.
        if self.redis.is_some()
            && differs(
                "capacity and refill (shared: POST /config changes them)",
                self.quota != current.quota,
            )
        {
            self.quota = current.quota;
        }
        ignored
    }
}

/// Returns the settings of a TOML file, without flags.
#[cfg(test)]
pub(crate) fn settings(toml: &str) -> Settings {
    let file = super::file::from_toml(toml).unwrap();
    Settings::merge(Serve::default(), file).unwrap()
}
