//! Upstreams of a gateway, and the limits of the connections to them.

use std::{cmp::Reverse, collections::HashSet, time::Duration};

use super::file::{self, File};
use crate::{cli::Serve, placement::Placement, values::UpstreamUrl};

/// Settings of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gateway {
    /// Sorted by descending length of the prefix.
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) timeouts: UpstreamTimeouts,
    /// Maximum number of idle connections to each upstream.
    pub(crate) max_idle: usize,
    /// Maximum number of concurrent requests and tunnels to each upstream.
    pub(crate) max_requests: usize,
    /// Prefix of the paths of this server's own endpoints; empty: none.
    pub(crate) own_prefix: String,
    /// Maximum number of concurrent requests and tunnels of a client, to all upstreams together.
    pub(crate) max_concurrent_per_client: usize,
    /// Maximum number of these that are tunnels.
    pub(crate) max_tunnels_per_client: usize,
}

/// An upstream and the prefix of its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) prefix: String,
    pub(crate) url: UpstreamUrl,
}

/// Timeouts of the connections to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamTimeouts {
    pub(crate) connect: Duration,
    /// From the end of the request to the end of the response's header.
    pub(crate) response: Duration,
    /// Between two chunks of a response.
    pub(crate) idle: Duration,
    /// Between two requests on a connection.
    pub(crate) keep_alive: Duration,
    /// Without traffic in a tunnel.
    pub(crate) tunnel: Duration,
}

impl Gateway {
    /// `None`: there is no upstream.
    pub(super) fn merge(
        flags: &Serve,
        file: &File,
        placement: &Placement,
    ) -> Result<Option<Gateway>, String> {
        let root = flags.upstream.as_ref().or(file.upstream.as_ref()).cloned();
        let upstreams = upstreams(root, &file.upstreams, placement)?;
        if upstreams.is_empty() {
            return match file.gateway {
                Some(_) => {
                    Err("gateway: expected upstream or upstreams beside it, got neither".to_owned())
                }
                None => Ok(None),
            };
        }
        let given = file.gateway.clone().unwrap_or_default();
        let seconds = Duration::from_secs;
        let timeouts = UpstreamTimeouts {
            connect: given.connect_timeout.map_or(seconds(5), |time| time.get()),
            response: given
                .response_timeout
                .map_or(seconds(60), |time| time.get()),
            idle: given.idle_timeout.map_or(seconds(60), |time| time.get()),
            keep_alive: given.keep_alive.map_or(seconds(30), |time| time.get()),
            tunnel: given
                .tunnel_timeout
                .map_or(seconds(3600), |time| time.get()),
        };
        let max_requests = given.max_requests.map_or(1000, |max| max.size());
        let max_concurrent_per_client = given
            .max_concurrent_per_client
            .map_or((max_requests / 4).max(1), |max| max.size());
        Ok(Some(Gateway {
            upstreams,
            timeouts,
            max_idle: given.max_idle.map_or(256, |max| max.size()),
            max_requests,
            max_concurrent_per_client,
            max_tunnels_per_client: given
                .max_tunnels_per_client
                .map_or(max_concurrent_per_client, |max| max.size()),
            own_prefix: own_prefix(file)?.to_owned(),
        }))
    }
}

/// Returns the prefix of own endpoints in a gateway; empty if the file sets none.
pub(super) fn own_prefix(file: &File) -> Result<&str, String> {
    let given = file
        .gateway
        .as_ref()
        .and_then(|gateway| gateway.own_prefix.as_ref());
    let prefix = given.map_or("", |prefix| prefix.as_str());
    // In a request, the path of an endpoint follows the prefix literally.
    if given.is_some() && (prefix.ends_with('/') || prefix.contains(['*', '%'])) {
        return Err(format!(
            "gateway.own_prefix: expected a path without * and % that does not end with /, such as /_tollgate, got {prefix}"
        ));
    }
    Ok(prefix)
}

fn upstreams(
    root: Option<UpstreamUrl>,
    given: &[file::Upstream],
    placement: &Placement,
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
    for (index, upstream) in given.iter().enumerate() {
        let prefix = upstream.prefix.as_str();
        let expected = if placement.own_path(prefix).is_some() {
            "a path that is not this server's own"
        } else if prefix.contains('*') {
            "a path such as /api, without a *"
        } else if !seen.insert(prefix.to_owned()) {
            "each prefix once (the prefix of the key upstream is /)"
        } else {
            upstreams.push(Upstream {
                prefix: prefix.to_owned(),
                url: upstream.url.clone(),
            });
            continue;
        };
        return Err(format!(
            "upstreams[{index}].prefix: expected {expected}, got {prefix}"
        ));
    }
    upstreams.sort_by_key(|upstream| Reverse(upstream.prefix.len()));
    Ok(upstreams)
}
