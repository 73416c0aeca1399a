//! From a URL to where the server is, or the servers are.
//!
//! The redis crate reads URLs of one server. Those of several are read here: their hosts stand where the host stands,
//! separated by commas, and Sentinel's name of the master is the first part of the path.

use redis::{
    Client, ConnectionInfo, IntoConnectionInfo,
    cluster::{ClusterClient, ClusterClientBuilder},
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};

use super::error::RedisError;

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Server(String),
    /// URLs of the sentinels, the master's name, and a URL with the user, the password and the database of the master.
    Sentinel {
        sentinels: Vec<String>,
        master: String,
        like: String,
    },
    Cluster(Vec<String>),
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Target, RedisError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("there is no scheme such as redis://"))?;
        let target = match scheme {
            "redis+sentinel" | "valkey+sentinel" => sentinel("redis", rest)?,
            "rediss+sentinel" | "valkeys+sentinel" => sentinel("rediss", rest)?,
            "redis+cluster" | "valkey+cluster" => cluster("redis", rest),
            "rediss+cluster" | "valkeys+cluster" => cluster("rediss", rest),
            "redis" | "rediss" | "valkey" | "valkeys" | "unix" | "redis+unix" | "valkey+unix" => {
                Target::Server(url.to_owned())
            }
            _ => return Err(wrong("the scheme is none of redis, rediss, redis+sentinel, redis+cluster and their like")),
        };
        target.check()?;
        Ok(target)
    }

    /// Every part is one that the redis crate can read.
    fn check(&self) -> Result<(), RedisError> {
        match self {
            Target::Server(url) => drop(self.client(url)?),
            Target::Sentinel { .. } => drop(self.sentinel()?),
            Target::Cluster(nodes) => drop(self.cluster(nodes)?),
        }
        Ok(())
    }

    pub(super) fn client(&self, url: &str) -> Result<Client, RedisError> {
        Ok(Client::open(url)?)
    }

    /// What asks the sentinels who the master is.
    pub(super) fn sentinel(&self) -> Result<SentinelClient, RedisError> {
        let Target::Sentinel { sentinels, master, like } = self else { return Err(wrong("there are no sentinels")) };
        let like: ConnectionInfo = like.as_str().into_connection_info()?;
        let mut node = SentinelNodeConnectionInfo::default().set_redis_connection_info(like.redis_settings().clone());
        if matches!(like.addr(), redis::ConnectionAddr::TcpTls { .. }) {
            node = node.set_tls_mode(redis::TlsMode::Secure);
        }
        let sentinels = sentinels.iter().map(String::as_str).collect();
        Ok(SentinelClient::build(sentinels, master, Some(node), SentinelServerType::Master)?)
    }

    pub(super) fn cluster(&self, nodes: &[String]) -> Result<ClusterClient, RedisError> {
        // What fails once counts as a failure: nobody waits twice.
        Ok(ClusterClientBuilder::new(nodes.iter().map(String::as_str)).retries(1).build()?)
    }

    /// A server to listen on: in a cluster any one tells what is published on any other.
    pub(super) fn listening(&self) -> Option<&str> {
        match self {
            Target::Server(url) => Some(url),
            Target::Cluster(nodes) => nodes.first().map(String::as_str),
            Target::Sentinel { .. } => None,
        }
    }
}

/// Everything before the hosts, the hosts, and everything behind them.
fn split(rest: &str) -> (&str, impl Iterator<Item = &str>, &str) {
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    (user, hosts.split(',').map(str::trim), path)
}

fn sentinel(scheme: &str, rest: &str) -> Result<Target, RedisError> {
    let (user, hosts, path) = split(rest);
    let (master, database) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    if master.is_empty() || master.contains(['?', '#']) {
        return Err(wrong(
            "behind the sentinels there is no name of a master, as in redis+sentinel://host1,host2/mymaster/0",
        ));
    }
    // A sentinel listens on 26379 when nothing else is said.
    let sentinels = hosts.map(|host| format!("{scheme}://{}", with_port(host, 26379))).collect();
    let like = format!("{scheme}://{user}master/{database}");
    Ok(Target::Sentinel { sentinels, master: master.to_owned(), like })
}

fn with_port(host: &str, port: u16) -> String {
    let named = host.rfind(':').is_some_and(|colon| !host[colon..].contains(']'));
    if named { host.to_owned() } else { format!("{host}:{port}") }
}

fn cluster(scheme: &str, rest: &str) -> Target {
    let (user, hosts, path) = split(rest);
    Target::Cluster(hosts.map(|host| format!("{scheme}://{user}{host}{path}")).collect())
}

fn wrong(why: &str) -> RedisError {
    RedisError::Url(why.to_owned())
}
