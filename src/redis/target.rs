//! From a URL to where the server is, or the servers are.
//!
//! The redis crate reads URLs of one server. Those of several are read here: their hosts stand
//! where the host stands, separated by commas, and Sentinel's name of the master is the first part
//! of the path.

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsMode,
    cluster::{ClusterClient, ClusterClientBuilder},
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};

use super::error::RedisError;

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Server(String),
    /// URLs of the sentinels, the master's name, and a URL with the user, the password and the
    /// database of the master.
    Sentinel {
        sentinels: Vec<String>,
        master: String,
        like: String,
    },
    Cluster(Vec<String>),
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Target, RedisError> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("there is no scheme such as redis://"))?;
        let target = match scheme {
            "redis+sentinel" | "valkey+sentinel" => sentinel("redis", rest)?,
            "rediss+sentinel" | "valkeys+sentinel" => sentinel("rediss", rest)?,
            "redis+cluster" | "valkey+cluster" => cluster("redis", rest),
            "rediss+cluster" | "valkeys+cluster" => cluster("rediss", rest),
            "redis" | "rediss" | "valkey" | "valkeys" | "unix" | "redis+unix" | "valkey+unix" => {
                Target::Server(url.to_owned())
            }
            _ => {
                return Err(wrong(
                    "the scheme is none of redis, rediss, redis+sentinel, redis+cluster and their like",
                ));
            }
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
        Ok(Client::open(
            url.into_connection_info()?.set_tcp_settings(at_once()),
        )?)
    }

    /// What asks the sentinels who the master is.
    pub(super) fn sentinel(&self) -> Result<SentinelClient, RedisError> {
        let Target::Sentinel {
            sentinels,
            master,
            like,
        } = self
        else {
            return Err(wrong("there are no sentinels"));
        };
        let like: ConnectionInfo = like.as_str().into_connection_info()?;
        let mut node = SentinelNodeConnectionInfo::default()
            .set_redis_connection_info(like.redis_settings().clone())
            .set_tcp_settings(at_once());
        if matches!(like.addr(), ConnectionAddr::TcpTls { .. }) {
            node = node.set_tls_mode(TlsMode::Secure);
        }
        let sentinels = sentinels.iter().map(String::as_str).collect();
        Ok(SentinelClient::build(
            sentinels,
            master,
            Some(node),
            SentinelServerType::Master,
        )?)
    }

    pub(super) fn cluster(&self, nodes: &[String]) -> Result<ClusterClient, RedisError> {
        // What fails once counts as a failure: nobody waits twice.
        Ok(ClusterClientBuilder::new(nodes.iter().map(String::as_str))
            .retries(1)
            .tcp_settings(at_once())
            .build()?)
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

/// Nothing waits for more to send: with many requests on the way on one connection, that costs 40
/// ms now and then.
fn at_once() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// Everything before the hosts, the hosts, and everything behind them.
fn split(rest: &str) -> (&str, impl Iterator<Item = &str>, &str) {
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    (user, hosts.split(',').map(str::trim), path)
}

fn sentinel(scheme: &str, rest: &str) -> Result<Target, RedisError> {
    let (user, hosts, path) = split(rest);
    let (master, database) = path
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or((path.trim_start_matches('/'), ""));
    if master.is_empty() || master.contains(['?', '#']) {
        return Err(wrong(
            "behind the sentinels there is no name of a master, as in redis+sentinel://host1,host2/mymaster/0",
        ));
    }
    // A sentinel listens on 26379 when nothing else is said.
    let sentinels = hosts
        .map(|host| format!("{scheme}://{}", with_port(host, 26379)))
        .collect();
    let like = format!("{scheme}://{user}master/{database}");
    Ok(Target::Sentinel {
        sentinels,
        master: master.to_owned(),
        like,
    })
}

fn with_port(host: &str, port: u16) -> String {
    let named = host
        .rfind(':')
        .is_some_and(|colon| !host[colon..].contains(']'));
    if named {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    }
}

fn cluster(scheme: &str, rest: &str) -> Target {
    let (user, hosts, path) = split(rest);
    Target::Cluster(
        hosts
            .map(|host| format!("{scheme}://{user}{host}{path}"))
            .collect(),
    )
}

fn wrong(why: &str) -> RedisError {
    RedisError::Url(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_servers_are_told_by_the_scheme() {
        let cluster = Target::Cluster(vec![
            "rediss://:pw@one:1".to_owned(),
            "rediss://:pw@two".to_owned(),
        ]);
        assert_eq!(Target::parse("rediss+cluster://:pw@one:1,two"), Ok(cluster));

        let target = Target::parse("redis+sentinel://me:p@w@one, [::1]:5/main/3").unwrap();
        let sentinels = vec!["redis://one:26379".to_owned(), "redis://[::1]:5".to_owned()];
        let like = "redis://me:p@w@master/3".to_owned();
        assert_eq!(
            target,
            Target::Sentinel {
                sentinels,
                master: "main".to_owned(),
                like
            }
        );

        let one = Target::parse("redis://127.0.0.1:7/2").unwrap();
        assert_eq!(one, Target::Server("redis://127.0.0.1:7/2".to_owned()));
    }

    #[test]
    fn what_cannot_be_a_server_is_refused_without_telling_the_password() {
        for url in [
            "127.0.0.1",
            "http://:secret@one/",
            "redis://:secret@one:x/",
            "redis://:secret@one/notadatabase",
            "redis+sentinel://:secret@one,two",
            "redis+cluster://:secret@",
            "redis+cluster://:secret@one,:",
        ] {
            let error = Target::parse(url).expect_err(url);
            assert!(matches!(error, RedisError::Url(_)), "{url}: {error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
