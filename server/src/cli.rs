//! The command line.

use std::{error::Error, ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{
    Args, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use hyper::Uri;
use ipnet::IpNet;
use tollgate::tower::HeaderStyle;

use crate::values::{
    Check, Fraction, OnRedisError, Rate, RedisMode, RedisPrefix, RedisTimeout, RedisUrl, Secret,
    Timeout, Tokens, UpstreamUrl, Whole, typed,
};

const FILE_HELP: &str = r#"The file (TOML or JSON, by its ending) may say all of the above and more. An unknown key is an error.
  listen = "127.0.0.1:8000"
  capacity = 10                               # tokens
  refill_rate = 1.0                           # tokens per second, or one of these in its place:
  refill = { every = "1h", mode = "interval" }   # the whole capacity at once, an hour after the first request
  refill = { every = "1s", tokens = 5 }          # greedy: 5 tokens a second; tokens defaults to the capacity
  quota = "100/hour, capacity 20"             # in place of capacity and refill
  tokens = 100                                # with time: an interval, as in the API-key system's settings file
  time = 3600                                 # seconds
  trust_proxy = ["10.0.0.0/8"]
  admin_token = "..."
  check = "guarded"                           # POST /check is for who has a token; or "open": for everybody
  check_token = "..."                         # what it asks for; the admin's token is as good
  headers = "x"                               # X-RateLimit-*; or "draft": RateLimit, as the IETF has it; or "both"
  redis = "redis://127.0.0.1/"                # or rediss://, redis+sentinel://, redis+cluster://
  redis_mode = "exact"                        # or "lease": memory speed, with lease_fraction on top of the capacity
  lease_fraction = 0.1                        # of the capacity, out on lease at most, over all instances
  redis_prefix = "tollgate"                   # instances with the same prefix share limits and rules
  redis_timeout = "50ms"                      # what a request waits for Redis at most, once; 10s at most
  on_redis_error = "local"                    # or "open" (allow everything), or "closed" (503)
  local_share = 1.0                           # with "local": each instance's part of the quota
  client = "ip"                               # or { header = "X-API-Key" }
  api_keys = ["..."]                          # with a header: the only keys that are let in
  ipv6_prefix = 64                            # bits of an IPv6 address that make a client
  max_clients = 1000000                       # clients told apart, 27 bytes each
  upstream = "http://127.0.0.1:9000"          # gateway: what is allowed goes there; or https://, or h2c://
  [[routes]]                                  # costs, exemptions, limits of their own; without a method, for all of them
  method = "GET"
  path = "/api/data"                          # in any spelling; or "/api/*": /api and all below it; the longest wins
  cost = 2                                    # or exempt = true
  capacity = 100                              # a bucket for it in place of the client's default; with refill_rate or refill,
  refill_rate = 0.1                           # or quota in their place
  max_clients = 100000                        # of this route
  [[rules]]                                   # a client's own limits
  client_id = "192.0.2.7"
  capacity = 50
  refill_rate = 10.0
  [[upstreams]]                               # by path; the longest prefix wins, and ends where a part of the path does
  prefix = "/api"
  url = "http://127.0.0.1:9001"
  [gateway]                                   # of each upstream
  connect_timeout = "5s"                      # then 504; 502 when it cannot be reached at all
  response_timeout = "60s"                    # until the header of its answer: then 504
  idle_timeout = "60s"                        # between two pieces of its answer: then the answer is cut
  keep_alive = "30s"                          # how long a connection without a request is kept
  max_idle = 256                              # so many of those
  max_requests = 1000                         # at a time; the next ones wait for connect_timeout: then 503
  tunnel_timeout = "1h"                       # of a WebSocket on which nothing moves
  [connections]
  max = 10000                                 # the next ones wait until one ends
  header_timeout = "10s"                      # for a whole header, and for the first request
  idle_timeout = "60s"                        # between requests
  body_timeout = "30s"                        # waiting for a body; to a gateway, and a second more for each 1000 bytes
  shutdown_grace = "10s"                      # what is in flight at SIGINT or SIGTERM may take
  max_header_bytes = 16384
  max_body_bytes = 1048576                    # of a gateway 67108864: it holds none of them

While it runs: GET /config shows what is in force; POST /config {"capacity": 15, "refill_rate": 5} changes the default (either
field alone, too; a rate takes an interval's place) and makes all buckets full; POST /admin/update-rule {"client_id":
"192.0.2.7", "capacity": 50, "refill_rate": 10.0} gives one client limits of its own; DELETE /admin/rule/192.0.2.7 takes them back.
All of this is about the default buckets: routes with limits of their own have those that the file says.

Other services ask POST /check {"key": "alice", "cost": 4} (cost 1 when left out; a list of up to 100 gets a list) and hear
{"allowed": true, "limit": 10, "remaining": 6, "retry_after": null, "reset_after": 4.0}. Where clients are API keys, the key is
one of those; else it is a name of its own, and check:alice is the client_id of its rules. nginx (auth_request), Traefik and Caddy
(forward-auth) ask /auth, which answers 200 or 429 as if it were the request itself: from a proxy of trust_proxy, X-Original-URI
or X-Forwarded-Uri says what is asked for, and X-Original-Method or X-Forwarded-Method how. A gateway leaves /check and /auth to
its upstreams.

GET /metrics, for whom the admin API is, tells Prometheus of decisions by route and reason, how long they take, and how full the
table is. It names no client.

SIGHUP reads the file again: limits, rules, routes, upstreams, keys, tokens, headers and trusted proxies change for the next
request. Buckets stay as they are unless the default changed, or that of a route, and what an administrator changed stays unless the
file says something new of it. A bad file changes nothing, and the log says why; listen, client, ipv6_prefix, max_clients,
connections, whether there is an upstream and all about Redis wait for a restart, and the default limit that is shared there for
POST /config.

TOLLGATE_LOG (or RUST_LOG) sets what is logged to standard error: info, debug (a line a request), or a filter."#;

/// A rate-limiting HTTP server: a token bucket for every client, in one atomic word.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, args_conflicts_with_subcommands = true, after_long_help = FILE_HELP)]
#[command(after_help = "--help shows the keys of the configuration file as well.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send requests to a server and show what it answers; with --concurrency or --duration,
    /// measure it
    Stress(Stress),
    /// Ask a server whether it is well: code 0 when it is, 1 when it is not, for a container's
    /// health check
    Health(Health),
}

/// Flags of the server.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Serve {
    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:8000]
    #[arg(long, env = "TOLLGATE_LISTEN", value_name = "ADDR", value_parser = typed::<SocketAddr>)]
    pub(crate) listen: Option<SocketAddr>,
    /// Configuration file, TOML or JSON by its ending; flags win over the environment, the
    /// environment over the file
    #[arg(long, env = "TOLLGATE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Tokens in a full bucket [default: 10]
    #[arg(long, env = "TOLLGATE_CAPACITY", value_name = "N", value_parser = typed::<Tokens>, allow_hyphen_values = true)]
    pub(crate) capacity: Option<Tokens>,
    /// Tokens that come back per second; 0.5 is one token in 2 s [default: 1]
    #[arg(long, env = "TOLLGATE_REFILL_RATE", value_name = "R", value_parser = typed::<Rate>, allow_hyphen_values = true)]
    pub(crate) refill_rate: Option<Rate>,
    /// Network whose X-Forwarded-For and Forwarded headers count; repeat it, or separate with
    /// commas
    ///
    /// The client is the rightmost address in the header that is in none of these networks. When
    /// both headers are there and disagree, one may be forged: then the client is the proxy itself.
    #[arg(long, env = "TOLLGATE_TRUST_PROXY", value_name = "CIDR", value_parser = typed::<IpNet>, value_delimiter = ',')]
    pub(crate) trust_proxy: Vec<IpNet>,
    /// Redis or Valkey that shares the limits with other instances, in place of memory
    ///
    /// redis://[user][:password@]host[:port][/database], rediss:// with TLS,
    /// redis+sentinel://host,host/master, or redis+cluster://host,host. Better in the environment
    /// than in a flag when it holds a password.
    #[arg(long, env = "TOLLGATE_REDIS", value_name = "URL", value_parser = typed::<RedisUrl>, hide_env_values = true)]
    pub(crate) redis: Option<RedisUrl>,
    /// exact: every request asks Redis; lease: tokens are taken in batches and spent at memory
    /// speed [default: exact]
    #[arg(long, env = "TOLLGATE_REDIS_MODE", value_name = "MODE", value_parser = typed::<RedisMode>)]
    pub(crate) redis_mode: Option<RedisMode>,
    /// What a request waits for Redis at most, once; then on-redis-error decides until Redis is
    /// back [default: 50ms]
    #[arg(long, env = "TOLLGATE_REDIS_TIMEOUT", value_name = "TIME", value_parser = typed::<RedisTimeout>, allow_hyphen_values = true)]
    pub(crate) redis_timeout: Option<RedisTimeout>,
    /// What the names of all keys in Redis begin with; instances with the same one share [default:
    /// tollgate]
    #[arg(long, env = "TOLLGATE_REDIS_PREFIX", value_name = "TEXT", value_parser = typed::<RedisPrefix>)]
    pub(crate) redis_prefix: Option<RedisPrefix>,
    /// While Redis cannot be asked: local (buckets of this instance), open (allow) or closed (503)
    /// [default: local]
    #[arg(long, env = "TOLLGATE_ON_REDIS_ERROR", value_name = "POLICY", value_parser = typed::<OnRedisError>)]
    pub(crate) on_redis_error: Option<OnRedisError>,
    /// With on-redis-error local: this instance's part of the quota; 0.25 when there are four
    /// [default: 1]
    #[arg(long, env = "TOLLGATE_LOCAL_SHARE", value_name = "PART", value_parser = typed::<Fraction>, allow_hyphen_values = true)]
    pub(crate) local_share: Option<Fraction>,
    /// With redis-mode lease: the part of the capacity that all instances together may hold on
    /// lease [default: 0.1]
    #[arg(long, env = "TOLLGATE_LEASE_FRACTION", value_name = "PART", value_parser = typed::<Fraction>, allow_hyphen_values = true)]
    pub(crate) lease_fraction: Option<Fraction>,
    /// Gateway: what is allowed is proxied there, in place of the built-in answers
    ///
    /// http://host[:port], https://host[:port], or h2c://host[:port] for HTTP/2 without TLS.
    /// /health, /metrics, /config and /admin/ stay this server's own. Several upstreams, by path,
    /// go into the file.
    #[arg(long, env = "TOLLGATE_UPSTREAM", value_name = "URL", value_parser = typed::<UpstreamUrl>)]
    pub(crate) upstream: Option<UpstreamUrl>,
    /// What the admin API asks for, as Authorization: Bearer TOKEN; without it, it answers to this
    /// machine alone
    ///
    /// Better in the environment than in a flag, which other users of the machine can see.
    #[arg(long, env = "TOLLGATE_ADMIN_TOKEN", value_name = "TOKEN", value_parser = typed::<Secret>, hide_env_values = true)]
    pub(crate) admin_token: Option<Secret>,
    /// Who may ask POST /check: guarded (who has a token; without any, this machine) or open
    /// [default: guarded]
    #[arg(long, env = "TOLLGATE_CHECK", value_name = "WHO", value_parser = typed::<Check>)]
    pub(crate) check: Option<Check>,
    /// What POST /check asks for, as Authorization: Bearer TOKEN; the admin's token is as good
    #[arg(long, env = "TOLLGATE_CHECK_TOKEN", value_name = "TOKEN", value_parser = typed::<Secret>, hide_env_values = true)]
    pub(crate) check_token: Option<Secret>,
    /// Which headers tell clients what is left: x (X-RateLimit-*), draft (RateLimit,
    /// RateLimit-Policy) or both [default: x]
    ///
    /// draft is draft-ietf-httpapi-ratelimit-headers-11. With it, and with both, a refusal is
    /// application/problem+json for clients whose Accept takes that as gladly as JSON.
    #[arg(long, env = "TOLLGATE_HEADERS", value_name = "WHICH", value_parser = typed::<HeaderStyle>)]
    pub(crate) headers: Option<HeaderStyle>,
}

/// Flags of the stress tool.
#[derive(Clone, Debug, Args)]
pub(crate) struct Stress {
    /// Where to send the requests
    #[arg(long, default_value = "http://127.0.0.1:8000/", value_parser = url)]
    pub(crate) url: Uri,
    /// Requests to send [default: 20, or as many as the duration allows]
    #[arg(long, value_name = "N", value_parser = typed::<Whole<1, 1_000_000_000>>)]
    pub(crate) total: Option<Whole<1, 1_000_000_000>>,
    /// Pause after each answer, in seconds or as 10ms [default: 0.2, or 0 for a real load]
    #[arg(long, value_name = "TIME", value_parser = typed::<Timeout<0>>, allow_hyphen_values = true)]
    pub(crate) interval: Option<Timeout<0>>,
    /// A real load: connections that send at the same time
    #[arg(long, value_name = "N", value_parser = typed::<Whole<1, 10_000>>)]
    pub(crate) concurrency: Option<Whole<1, 10_000>>,
    /// A real load: how long, in seconds or as 1m [default: 10s, unless there is a total]
    #[arg(long, value_name = "TIME", value_parser = typed::<Timeout<1>>)]
    pub(crate) duration: Option<Timeout<1>>,
}

/// Flags of the health check.
#[derive(Clone, Debug, Args)]
pub(crate) struct Health {
    /// What to ask
    #[arg(long, env = "TOLLGATE_HEALTH_URL", default_value = "http://127.0.0.1:8000/health", value_parser = url)]
    pub(crate) url: Uri,
    /// How long the answer may take, in seconds or as 500ms
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = typed::<Timeout<1>>)]
    pub(crate) timeout: Timeout<1>,
}

impl Stress {
    /// The time a load lasts at most.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        let standard = self.total.is_none().then_some(Duration::from_secs(10));
        self.duration.map(|Timeout(time)| time).or(standard)
    }
}

fn url(text: &str) -> Result<Uri, String> {
    let uri = text.parse::<Uri>().ok();
    let good = |uri: &Uri| {
        uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty())
    };
    uri.filter(good)
        .ok_or_else(|| "expected a URL such as http://127.0.0.1:8000/".to_owned())
}

/// clap's message in one line: which flag or variable, what it was, what is allowed. `arguments`
/// are those that were parsed.
pub(crate) fn one_line(
    error: &clap::Error,
    arguments: impl IntoIterator<Item = OsString>,
) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if let (ErrorKind::ValueValidation, Some(flag), Some(value), Some(expected)) = (
        error.kind(),
        context(ContextKind::InvalidArg),
        context(ContextKind::InvalidValue),
        error.source(),
    ) {
        let flag = flag.split(' ').next().unwrap_or(flag);
        let shown = if ["--admin-token", "--check-token", "--redis"].contains(&flag) {
            "a value that is not shown here".to_owned()
        } else {
            format!("{value:?}")
        };
        return format!("{}: {shown}: {expected}", named_as_given(flag, arguments));
    }
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => {
            format!("{line}: --help shows what there is")
        }
        _ => line.to_owned(),
    }
}

/// The flag, or the variable of the environment that stands for it when the flag itself was not
/// given.
fn named_as_given(flag: &str, arguments: impl IntoIterator<Item = OsString>) -> String {
    let is_flag = |argument: OsString| {
        argument.to_str().is_some_and(|text| {
            text.strip_prefix(flag)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    };
    match arguments.into_iter().any(is_flag) {
        true => flag.to_owned(),
        false => flag
            .replacen("--", "TOLLGATE_", 1)
            .replace('-', "_")
            .to_uppercase(),
    }
}
