//! Where allowed requests go, and what upstreams may use up.

use std::{collections::HashSet, time::Duration};

use super::file::{self, File};
use crate::{
    cli::Serve,
    endpoint,
    values::{Table, UpstreamUrl},
};

/// The settings of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gateway {
    /// Longer prefixes before shorter ones.
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) times: Times,
    /// Connections without a request, of each upstream.
    pub(crate) max_idle: usize,
    /// Requests and tunnels at a time, of each upstream.
    pub(crate) max_requests: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) prefix: String,
    pub(crate) url: UpstreamUrl,
}

/// How long an upstream may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) connect: Duration,
    /// From the end of the request to the end of the answer's header.
    pub(crate) response: Duration,
    /// Between two pieces of an answer.
    pub(crate) idle: Duration,
    /// Between two requests on a connection.
    pub(crate) keep_alive: Duration,
    /// Between two signs of life in a tunnel.
    pub(crate) tunnel: Duration,
}

/// `None`: there is no upstream, and nothing that would need one.
pub(super) fn of(flags: &Serve, file: &File) -> Result<Option<Gateway>, String> {
    let root = flags
        .upstream
        .clone()
        .or_else(|| file.upstream.as_ref().map(|url| url.0.clone()));
    let upstreams = upstreams(root, &file.upstreams)?;
    if upstreams.is_empty() {
        return match file.gateway {
            Some(_) => Err("gateway: expected with upstream or upstreams only".to_owned()),
            None => Ok(None),
        };
    }
    let given = file
        .gateway
        .clone()
        .map_or_else(file::Gateway::default, |Table(given)| given);
    let seconds = Duration::from_secs;
    let times = Times {
        connect: given.connect_timeout.map_or(seconds(5), |time| time.0.0),
        response: given.response_timeout.map_or(seconds(60), |time| time.0.0),
        idle: given.idle_timeout.map_or(seconds(60), |time| time.0.0),
        keep_alive: given.keep_alive.map_or(seconds(30), |time| time.0.0),
        tunnel: given.tunnel_timeout.map_or(seconds(3600), |time| time.0.0),
    };
    Ok(Some(Gateway {
        upstreams,
        times,
        max_idle: given.max_idle.map_or(256, |most| most.0.size()),
        max_requests: given.max_requests.map_or(1000, |most| most.0.size()),
    }))
}

fn upstreams(
    root: Option<UpstreamUrl>,
    given: &[Table<file::Upstream>],
) -> Result<Vec<Upstream>, String> {
    let mut upstreams: Vec<_> = root
        .into_iter()
        .map(|url| Upstream {
            prefix: "/".to_owned(),
            url,
        })
        .collect();
    let mut seen: HashSet<String> = upstreams
        .iter()
        .map(|upstream| upstream.prefix.clone())
        .collect();
    for (number, Table(upstream)) in given.iter().enumerate() {
        let prefix = &upstream.prefix.0.0;
        if endpoint::is_reserved(prefix) {
            return Err(format!(
                "upstreams[{number}].prefix: {prefix}: expected a path that is not this server's own"
            ));
        }
        if prefix.contains('*') {
            return Err(format!(
                "upstreams[{number}].prefix: {prefix}: expected a path such as /api, without a *"
            ));
        }
        if !seen.insert(prefix.clone()) {
            return Err(format!(
                "upstreams[{number}].prefix: {prefix}: expected each prefix once, upstream being that of /"
            ));
        }
        upstreams.push(Upstream {
            prefix: prefix.clone(),
            url: upstream.url.0.clone(),
        });
    }
    upstreams.sort_by_key(|upstream| std::cmp::Reverse(upstream.prefix.len()));
    Ok(upstreams)
}
