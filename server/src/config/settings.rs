//! All settings: merged from flags, environment, file and defaults, and validated.

use std::{
    collections::HashSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::header::HeaderName;
use ipnet::IpNet;
use tollgate::{Quota, tower::HeaderStyle};

use super::{
    admin::{Admin, OpenEndpoints, Tokenless},
    connections::ConnectionLimits,
    cors::Cors,
    delay::Delay,
    file::File,
    jwt,
    limits::{self, Limits},
    lists::AddressLists,
    quota,
    redis::Redis,
    refusal::Refusal,
    routes::{self, Route},
    rules::{self, Rule},
    state::State,
    upstream::{self, Gateway},
};
use crate::{
    cli::Serve,
    placement::Placement,
    request::jwt::Jwt,
    values::{AdminAddress, Client, Nat64Prefix},
};

/// All settings, validated.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) quota: Quota,
    /// `None`: no request waits for its tokens.
    pub(crate) delay: Option<Delay>,
    pub(crate) trust_proxy: Vec<IpNet>,
    /// Header of trusted proxies that names the client; `None`: `X-Forwarded-For` and `Forwarded`.
    pub(crate) client_address_header: Option<HeaderName>,
    pub(crate) admin: Admin,
    pub(crate) headers: HeaderStyle,
    pub(crate) client: Client,
    pub(crate) api_keys: Option<HashSet<String>>,
    pub(crate) routes: Vec<Route>,
    pub(crate) limits: Limits,
    pub(crate) lists: AddressLists,
    /// Tokens whose claims are keys of limits.
    pub(crate) jwt: Option<Arc<Jwt>>,
    /// Response to requests that limits without one of their own refuse. `None`: the usual one.
    pub(crate) refusal: Option<Arc<Refusal>>,
    /// Upstreams tell `/A` from `/a`.
    pub(crate) case_sensitive_paths: bool,
    pub(crate) rules: Vec<Rule>,
    pub(crate) ipv6_prefix: u8,
    /// Prefixes of NAT64 translators besides the well-known one.
    pub(crate) nat64_prefixes: Vec<Nat64Prefix>,
    pub(crate) max_clients: usize,
    /// Directory with the buckets, which other processes of the machine share; `None`: they are those of
    /// this process.
    pub(crate) state: Option<State>,
    /// Redis that shares buckets with other instances; `None`: buckets in memory.
    pub(crate) redis: Option<Redis>,
    /// Upstreams of allowed requests; `None`: this server's own handlers respond.
    pub(crate) gateway: Option<Gateway>,
    /// Request headers that a gateway passes on although it removes them by default.
    pub(crate) pass_headers: Vec<HeaderName>,
    pub(crate) connections: ConnectionLimits,
    /// `None`: no other origins are allowed.
    pub(crate) cors: Option<Cors>,
    /// Configuration file that contains secrets and that all users of the machine can read.
    exposed_file: Option<PathBuf>,
}

impl Settings {
    /// Reads the file that the flags or the environment name, and merges it with them. An error is
    /// one line.
    pub(crate) fn load(flags: Serve) -> Result<Settings, String> {
        let path = flags.config.clone();
        let file = path
            .as_deref()
            .map_or_else(|| Ok(File::default()), File::read)?;
        let is_exposed = |path: &PathBuf| file.has_secrets() && is_readable_by_all(path);
        let exposed_file = path.filter(is_exposed);
        Ok(Settings {
            exposed_file,
            ..Settings::merge(flags, file)?
        })
    }

    /// Merges the text of a file with the defaults.
    pub(crate) fn from_text(text: &str, is_json: bool) -> Result<Settings, String> {
        let parse = if is_json {
            super::file::from_json
        } else {
            super::file::from_toml
        };
        Settings::merge(Serve::default(), parse(text)?)
    }

    /// Returns the labels and costs of requests that charge the default buckets, where they may be
    /// above the capacity.
    pub(crate) fn default_costs(&self) -> Vec<(String, u32)> {
        let has_upload = self.gateway.is_none() && self.limits.may_charge_default();
        routes::default_costs(&self.routes, has_upload)
    }

    pub(super) fn merge(flags: Serve, mut file: File) -> Result<Settings, String> {
        let quota = quota::of_default(&file, &flags)?;
        let lists = AddressLists::merge(&file)?;
        let refusal = file.refusal.take().map(Refusal::new).transpose();
        let refusal = refusal.map_err(|error| format!("refusal.{error}"))?;
        let jwt = file.jwt.take().map(jwt::merge).transpose();
        let jwt = jwt.map_err(|error| format!("jwt.{error}"))?;
        let has_quota = quota::is_given(&file, &flags);
        let delay = Delay::merge(&flags, &file)?;
        let admin = Admin::merge(&flags, &file)?;
        let has_upstream =
            flags.upstream.is_some() || file.upstream.is_some() || !file.upstreams.is_empty();
        let own_prefix = upstream::own_prefix(&file)?;
        if admin.listen.is_some() && !own_prefix.is_empty() {
            return Err(format!(
                "gateway.own_prefix: expected no admin_listen beside it, which moves all of this server's endpoints, got {own_prefix}"
            ));
        }
        let placement = admin.placement(has_upstream.then_some(own_prefix));
        let gateway = Gateway::merge(&flags, &file, &placement)?;
        let redis = Redis::merge(&flags, &file)?;
        let state = State::merge(&flags, &file, redis.is_some())?;
        let connections = ConnectionLimits::merge(file.connections, gateway.is_some())?;
        let client = flags.client.or(file.client).unwrap_or(Client::Ip);
        let api_keys = match flags.api_keys {
            flags if flags.is_empty() => file.api_keys,
            flags => Some(flags),
        };
        let api_keys = client.api_keys(api_keys)?;
        let rules = rules::merge(file.rules, &client)?;
        let routes = routes::merge(file.routes, &placement)?;
        routes::check_costs(&routes, quota, &rules)?;
        let limits = Limits::merge(
            file.limits,
            &limits::Context {
                client: &client,
                routes: &routes,
                has_quota,
                has_rules: !rules.is_empty(),
                has_upstream: gateway.is_some(),
                has_delay: delay.is_some_and(|delay| !delay.max_wait.is_zero()),
                has_jwt: jwt.is_some(),
                case_sensitive_paths: file.case_sensitive_paths,
            },
        )?;
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
        let token_header = jwt.as_ref().and_then(Jwt::header);
        let deciding: Vec<_> = client_address_header
            .iter()
            .chain(&token_header)
            .chain(limits.headers())
            .collect();
        let pass_headers = client.pass_headers(&deciding, pass_headers.unwrap_or_default())?;
        let cors = file.cors.map(|cors| Cors::merge(cors, gateway.is_some()));
        let settings = Settings {
            listen: flags
                .listen
                .or(file.listen)
                .unwrap_or((Ipv4Addr::LOCALHOST, 8000).into()),
            quota,
            delay,
            trust_proxy,
            client_address_header,
            admin,
            headers: flags.headers.or(file.headers).unwrap_or_default(),
            api_keys,
            routes,
            limits,
            lists,
            refusal: refusal.map(Arc::new),
            jwt: jwt.map(Arc::new),
            case_sensitive_paths: file.case_sensitive_paths,
            rules,
            client,
            // The value's type bounds it to 128.
            ipv6_prefix: file.ipv6_prefix.map_or(64, |prefix| prefix.get() as u8),
            nat64_prefixes: file.nat64_prefixes.unwrap_or_default(),
            max_clients: file.max_clients.map_or(1_000_000, |clients| clients.size()),
            state,
            redis,
            gateway,
            pass_headers,
            connections,
            cors: cors.transpose()?,
            exposed_file: None,
        };
        settings.validate()?;
        Ok(settings)
    }

    /// Returns whether the settings are safe together. An error is one line.
    pub(crate) fn validate(&self) -> Result<(), String> {
        self.admin.validate(self.listen, self.gateway.is_some())
    }

    /// Logs what works but should not stay as it is.
    pub(crate) fn log_warnings(&self) {
        self.admin.warn_about_short_tokens();
        if let Some(file) = &self.exposed_file {
            let file = file.display();
            tracing::warn!(%file, "file with secrets is readable by all users; chmod 600 it");
        }
    }

    /// Returns the ports and paths of this server's own endpoints.
    pub(crate) fn placement(&self) -> Placement {
        let gateway = self.gateway.as_ref();
        self.admin
            .placement(gateway.map(|gateway| gateway.own_prefix.as_str()))
    }

    /// Returns the requests without a token that have access to guarded endpoints without one.
    pub(crate) fn tokenless(&self) -> Tokenless {
        let is_plain_demo = AdminAddress::Tcp(self.listen).is_local()
            && self.gateway.is_none()
            && self.trust_proxy.is_empty();
        self.admin.tokenless(is_plain_demo)
    }

    /// Returns the text of the start line, where `address` is that of the admin listener.
    pub(crate) fn open_endpoints(&self, address: Option<AdminAddress>) -> OpenEndpoints<'_> {
        OpenEndpoints {
            admin: &self.admin,
            tokenless: self.tokenless(),
            address,
        }
    }
}

fn is_readable_by_all(path: &Path) -> bool {
    const READ_BY_OTHERS: u32 = 0o004;
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & READ_BY_OTHERS != 0)
}

/// Returns the settings of a TOML file, without flags.
#[cfg(test)]
pub(crate) fn settings(toml: &str) -> Settings {
    let file = super::file::from_toml(toml).unwrap();
    Settings::merge(Serve::default(), file).unwrap()
}

/// Returns the error of the settings of a TOML file, without flags.
#[cfg(test)]
pub(crate) fn settings_error(toml: &str) -> String {
    let merged =
        super::file::from_toml(toml).and_then(|file| Settings::merge(Serve::default(), file));
    merged.unwrap_err()
}
