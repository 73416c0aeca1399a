//! Limit of open files: raised at start, and the number of connections that fits within it.

use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    config::Settings,
    http::{BEYOND_PERMITS, MAX_ADMIN_CONNECTIONS},
};

/// Descriptors of the process itself: standard streams, listener, configuration and DNS files.
const OWN: u64 = 32;
/// Descriptors of a worker's runtime.
const PER_WORKER: u64 = 8;
/// Connections of a limiter to Redis.
const PER_REDIS_LIMITER: u64 = 4;

/// Soft limits of open files before and after [`raise`]; `None`: unlimited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFiles {
    pub(crate) before: Option<u64>,
    pub(crate) now: Option<u64>,
}

/// Raises the soft limit of open files to the hard limit. Each connection needs a descriptor, and
/// the usual soft limit of 1024 exists for programs that use `select`.
pub(crate) fn raise() -> OpenFiles {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // A system that refuses keeps its soft limit.
    let now = match current == maximum || setrlimit(Resource::Nofile, raised).is_err() {
        true => current,
        false => maximum,
    };
    OpenFiles {
        before: current,
        now,
    }
}

impl OpenFiles {
    /// Returns the maximum number of client connections: that of the settings, or as many as fit
    /// beside the connections to upstreams. Logs a reduction.
    pub(crate) fn max_connections(self, settings: &Settings) -> usize {
        let configured = settings.connections.max_connections;
        let upstream = upstream_connections(settings);
        let max = fitting(self.now, own(settings), upstream, configured);
        if max < configured {
            tracing::warn!(
                open_files = self.now,
                upstream_connections = upstream,
                configured,
                effective = max,
                "connections.max reduced to the limit of open files; raise the hard limit (ulimit -Hn, LimitNOFILE)"
            );
        }
        max
    }
}

/// Maximum number of connections to upstreams, in use and idle.
fn upstream_connections(settings: &Settings) -> u64 {
    let upstreams = |gateway: &crate::config::Gateway| {
        let each = gateway.max_requests as u64 + gateway.max_idle as u64;
        each.saturating_mul(gateway.upstreams.len() as u64)
    };
    settings.gateway.as_ref().map_or(0, upstreams)
}

/// Number of descriptors for everything but permits and upstreams.
fn own(settings: &Settings) -> u64 {
    let workers = thread::available_parallelism().map_or(1, usize::from) as u64;
    let limiters = match settings.redis {
        Some(_) => 1 + settings.routes.len() as u64,
        None => 0,
    };
    let admin = match settings.admin.listen {
        Some(_) => MAX_ADMIN_CONNECTIONS + BEYOND_PERMITS,
        None => 0,
    };
    let connections = BEYOND_PERMITS + admin;
    OWN + PER_WORKER * workers + PER_REDIS_LIMITER * limiters + connections as u64
}

/// Returns the number of connections that fit. When there are not even descriptors enough for all
/// connections to upstreams, clients get half of them.
fn fitting(limit: Option<u64>, own: u64, upstream: u64, configured: usize) -> usize {
    let Some(limit) = limit else {
        return configured;
    };
    let available = limit.saturating_sub(own).max(limit / 2);
    let fitting = available.saturating_sub(upstream).max(available / 2).max(1);
    usize::try_from(fitting).map_or(configured, |fitting| fitting.min(configured))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings;

    #[test]
    fn the_maximum_fits_beside_the_connections_to_upstreams() {
        assert_eq!(fitting(None, 100, 1256, 10_000), 10_000);
        assert_eq!(fitting(Some(1 << 20), 100, 1256, 10_000), 10_000);
        assert_eq!(fitting(Some(4096), 96, 1256, 10_000), 2744);
        assert_eq!(fitting(Some(4096), 96, 1256, 500), 500);
    }

    #[test]
    fn a_limit_below_the_number_of_upstream_connections_is_shared() {
        assert_eq!(fitting(Some(1024), 124, 1256, 10_000), 450);
        assert_eq!(fitting(Some(64), 124, 0, 10_000), 32);
        assert_eq!(fitting(Some(1), 124, 0, 10_000), 1);
    }

    #[test]
    fn each_upstream_counts_with_its_active_and_idle_connections() {
        let gateway = settings(
            "upstream = 'http://127.0.0.1:1'\n\
             upstreams = [{ prefix = '/api', url = 'http://127.0.0.1:2' }]\n\
             gateway = { max_requests = 100, max_idle = 10 }",
        );
        assert_eq!(upstream_connections(&gateway), 220);
        assert_eq!(upstream_connections(&settings("")), 0);
    }
}
