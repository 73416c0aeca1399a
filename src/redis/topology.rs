//! Parser of Redis URLs: a single server, Sentinel, or a cluster.
//!
//! The redis crate parses URLs of one server. URLs of several servers are split here into such
//! URLs: their hosts are a comma-separated list, and for Sentinel, the first path segment is the
//! name of the master.

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsMode,
    cluster::{ClusterClient, ClusterClientBuilder},
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};

use super::{error::RedisError, tls};

const SENTINEL_PORT: u16 = 26379;

/// Servers to connect to, and the way to find them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Topology {
    /// URL of the server.
    Single(String),
    Sentinel {
        /// URLs of the sentinels.
        sentinels: Vec<String>,
        /// Name of the master.
        master: String,
        /// URL with the user, the password and the database of the master. Its host is a
        /// placeholder.
        master_url: String,
    },
    /// URLs of seed nodes.
    Cluster(Vec<String>),
}

/// Kind of topology that a URL scheme names.
#[derive(Clone, Copy)]
enum Kind {
    Single,
    Sentinel,
    Cluster,
}

/// URL schemes: name, kind, TLS. The server's configuration accepts the same ones, through
/// `RedisLimiter::check_url`.
const SCHEMES: [(&str, Kind, bool); 15] = [
    ("redis", Kind::Single, false),
    ("rediss", Kind::Single, true),
    ("valkey", Kind::Single, false),
    ("valkeys", Kind::Single, true),
    ("unix", Kind::Single, false),
    ("redis+unix", Kind::Single, false),
    ("valkey+unix", Kind::Single, false),
    ("redis+sentinel", Kind::Sentinel, false),
    ("rediss+sentinel", Kind::Sentinel, true),
    ("valkey+sentinel", Kind::Sentinel, false),
    ("valkeys+sentinel", Kind::Sentinel, true),
    ("redis+cluster", Kind::Cluster, false),
    ("rediss+cluster", Kind::Cluster, true),
    ("valkey+cluster", Kind::Cluster, false),
    ("valkeys+cluster", Kind::Cluster, true),
];

impl Topology {
    pub(super) fn parse(url: &str) -> Result<Topology, RedisError> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| invalid("expected a scheme such as redis://, got none"))?;
        let Some(&(_, kind, tls)) = SCHEMES.iter().find(|(name, ..)| *name == scheme) else {
            return Err(invalid(
                "expected the scheme redis, valkey, unix, redis+sentinel or redis+cluster, or its TLS form, got another",
            ));
        };
        if tls && !tls::ENABLED {
            let plain = scheme.replacen("rediss", "redis", 1);
            let plain = plain.replacen("valkeys", "valkey", 1);
            return Err(RedisError::Url(format!(
                "expected {plain}://… (TLS needs the feature `redis-tls`), got {scheme}://…"
            )));
        }
        if rest.is_empty() {
            return Err(invalid("expected a host or a path, got none"));
        }
        let base = if tls { "rediss" } else { "redis" };
        let topology = match kind {
            Kind::Single => Topology::Single(url.to_owned()),
            Kind::Sentinel => sentinel(base, rest)?,
            Kind::Cluster => cluster(base, rest),
        };
        topology.check()?;
        Ok(topology)
    }

    /// Checks that the redis crate can parse every part.
    fn check(&self) -> Result<(), RedisError> {
        match self {
            Topology::Single(url) => drop(client(url)?),
            Topology::Sentinel { .. } => drop(self.sentinel_client()?),
            Topology::Cluster(nodes) => drop(cluster_client(nodes)?),
        }
        Ok(())
    }

    /// Whether connections use TLS.
    pub(super) fn uses_tls(&self) -> bool {
        let url = match self {
            Topology::Single(url)
            | Topology::Sentinel {
                master_url: url, ..
            } => Some(url),
            Topology::Cluster(nodes) => nodes.first(),
        };
        url.is_some_and(|url| url.starts_with("rediss:") || url.starts_with("valkeys:"))
    }

    /// Returns a client that asks the sentinels for the address of the master.
    pub(super) fn sentinel_client(&self) -> Result<SentinelClient, RedisError> {
        let Topology::Sentinel {
            sentinels,
            master,
            master_url,
        } = self
        else {
            return Err(invalid("expected sentinels, got none"));
        };
        let settings: ConnectionInfo = master_url
            .as_str()
            .into_connection_info()
            .map_err(RedisError::from_client)?;
        let mut node = SentinelNodeConnectionInfo::default()
            .set_redis_connection_info(settings.redis_settings().clone())
            .set_tcp_settings(nodelay());
        if matches!(settings.addr(), ConnectionAddr::TcpTls { .. }) {
            node = node.set_tls_mode(TlsMode::Secure);
        }
        let sentinels = sentinels.iter().map(String::as_str).collect();
        // Cloned: without TLS, the redis crate takes the name by value.
        SentinelClient::build(
            sentinels,
            master.clone(),
            Some(node),
            SentinelServerType::Master,
        )
        .map_err(RedisError::from_client)
    }

    /// Returns the URL of a server to subscribe on. In a cluster, any node delivers messages
    /// published on any other. `None`: only the sentinels know the address.
    pub(super) fn pubsub_url(&self) -> Option<&str> {
        match self {
            Topology::Single(url) => Some(url),
            Topology::Cluster(nodes) => nodes.first().map(String::as_str),
            Topology::Sentinel { .. } => None,
        }
    }
}

pub(super) fn client(url: &str) -> Result<Client, RedisError> {
    let info = url
        .into_connection_info()
        .map_err(RedisError::from_client)?;
    Client::open(info.set_tcp_settings(nodelay())).map_err(RedisError::from_client)
}

pub(super) fn cluster_client(nodes: &[String]) -> Result<ClusterClient, RedisError> {
    // The first failure counts: a retry would make the request wait twice.
    ClusterClientBuilder::new(nodes.iter().map(String::as_str))
        .retries(1)
        .tcp_settings(nodelay())
        .build()
        .map_err(RedisError::from_client)
}

/// Disables Nagle's algorithm: with many requests in flight on one connection, it now and then
/// costs 40 ms.
fn nodelay() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// Splits into user info (with its `@`), hosts, and the path with all that follows it.
fn split(rest: &str) -> (&str, impl Iterator<Item = &str>, &str) {
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    (user, hosts.split(',').map(str::trim), path)
}

fn sentinel(scheme: &str, rest: &str) -> Result<Topology, RedisError> {
    let (user, hosts, path) = split(rest);
    let path = path.trim_start_matches('/');
    let (master, database) = path.split_once('/').unwrap_or((path, ""));
    if master.is_empty() || master.contains(['?', '#']) {
        return Err(invalid(
            "expected the name of a master after the sentinels, as in redis+sentinel://host1,host2/mymaster/0, got none",
        ));
    }
    let sentinels = hosts
        .map(|host| format!("{scheme}://{}", with_port(host, SENTINEL_PORT)))
        .collect();
    let master_url = format!("{scheme}://{user}master/{database}");
    Ok(Topology::Sentinel {
        sentinels,
        master: master.to_owned(),
        master_url,
    })
}

/// Appends the port if the host has none.
fn with_port(host: &str, port: u16) -> String {
    let has_port = host
        .rfind(':')
        .is_some_and(|colon| !host[colon..].contains(']'));
    if has_port {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    }
}

fn cluster(scheme: &str, rest: &str) -> Topology {
    let (user, hosts, path) = split(rest);
    Topology::Cluster(
        hosts
            .map(|host| format!("{scheme}://{user}{host}{path}"))
            .collect(),
    )
}

fn invalid(reason: &str) -> RedisError {
    RedisError::Url(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_every_scheme() {
        for (scheme, rest) in [
            ("redis", "host:6379/0"),
            ("rediss", "host"),
            ("valkey", "host"),
            ("valkeys", "host"),
            ("unix", "/run/redis.sock"),
            ("redis+unix", "/run/redis.sock"),
            ("valkey+unix", "/run/valkey.sock"),
            ("redis+sentinel", "one,two/main"),
            ("rediss+sentinel", "one,two/main"),
            ("valkey+sentinel", "one,two/main"),
            ("valkeys+sentinel", "one,two/main"),
            ("redis+cluster", "one,two"),
            ("rediss+cluster", "one,two"),
            ("valkey+cluster", "one,two"),
            ("valkeys+cluster", "one,two"),
        ] {
            let parsed = Topology::parse(&format!("{scheme}://{rest}"));
            let (_, _, tls) = SCHEMES.iter().find(|(name, ..)| *name == scheme).unwrap();
            assert_eq!(parsed.is_ok(), !tls || tls::ENABLED, "{scheme}: {parsed:?}");
        }
    }

    #[test]
    #[cfg(not(feature = "redis-tls"))]
    fn tls_scheme_without_the_feature_names_the_feature() {
        for (url, plain) in [
            ("rediss://:secret@host/", "redis"),
            ("valkeys://:secret@host/", "valkey"),
            ("rediss+cluster://:secret@host/", "redis+cluster"),
            ("valkeys+sentinel://:secret@host/main", "valkey+sentinel"),
        ] {
            let (scheme, _) = url.split_once("://").unwrap();
            assert_eq!(
                Topology::parse(url).unwrap_err().to_string(),
                format!(
                    "url: expected {plain}://… (TLS needs the feature `redis-tls`), got {scheme}://…"
                )
            );
        }
    }

    #[test]
    fn splits_urls_of_several_servers() {
        let cluster = Topology::Cluster(vec![
            "redis://:pw@one:1".to_owned(),
            "redis://:pw@two".to_owned(),
        ]);
        assert_eq!(
            Topology::parse("redis+cluster://:pw@one:1,two"),
            Ok(cluster)
        );

        let topology = Topology::parse("redis+sentinel://me:p@w@one, [::1]:5/main/3").unwrap();
        let sentinels = vec!["redis://one:26379".to_owned(), "redis://[::1]:5".to_owned()];
        let master_url = "redis://me:p@w@master/3".to_owned();
        assert_eq!(
            topology,
            Topology::Sentinel {
                sentinels,
                master: "main".to_owned(),
                master_url
            }
        );

        let single = Topology::parse("redis://127.0.0.1:7/2").unwrap();
        assert_eq!(single, Topology::Single("redis://127.0.0.1:7/2".to_owned()));
    }

    #[test]
    #[cfg(feature = "redis-tls")]
    fn splits_tls_urls_of_several_servers() {
        let cluster = Topology::Cluster(vec![
            "rediss://:pw@one:1".to_owned(),
            "rediss://:pw@two".to_owned(),
        ]);
        assert_eq!(
            Topology::parse("rediss+cluster://:pw@one:1,two"),
            Ok(cluster)
        );
    }

    #[test]
    fn rejects_invalid_urls_without_showing_the_password() {
        for url in [
            "127.0.0.1",
            "redis://",
            "unix://",
            "http://:secret@one/",
            "redis://:secret@one:x/",
            "redis://:secret@one/notadatabase",
            "redis+sentinel://:secret@one,two",
            "redis+cluster://:secret@",
            "redis+cluster://:secret@one,:",
        ] {
            let error = Topology::parse(url).expect_err(url);
            assert!(matches!(error, RedisError::Url(_)), "{url}: {error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
