//! Command line: flags, environment variables and their help.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "documentation comments are help texts, in which brackets mark optional parts"
)]

mod environment;
mod error;
mod file_help;

use std::{
    ffi::OsString,
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, FromArgMatches, Parser, Subcommand, parser::ValueSource};
use hyper::{Uri, header::HeaderName};
use ipnet::IpNet;
use tollgate::{Quota, QuotaError, tower::HeaderStyle};

pub(crate) use self::error::one_line;
use self::file_help::FILE_HELP;
use crate::values::{
    AdminAddress, Check, Client, ClockTolerance, Fraction, MaxDelay, OnRedisError, Product, Rate,
    RedisMode, RedisPrefix, RedisTimeout, RedisUrl, Secret, Timeout, Tokens, UpstreamUrl, Whole,
    parse_argument, parse_list_item, socket_path,
};

/// A rate-limiting HTTP server: a token bucket for every client, in one atomic word.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, args_conflicts_with_subcommands = true, after_long_help = FILE_HELP)]
#[command(after_help = "--help also shows the keys of the configuration file.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

impl Cli {
    /// Parses arguments and the environment. A quota among the arguments replaces a capacity and a
    /// rate of the environment.
    pub(crate) fn from_arguments(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Cli, clap::Error> {
        let mut command = environment::command::<Cli>();
        let matches = command.try_get_matches_from_mut(arguments)?;
        let mut cli =
            Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        let is_from = |id, source| matches.value_source(id) == Some(source);
        if is_from("quota", ValueSource::CommandLine) {
            let serve = &mut cli.serve;
            let from_environment = |id| is_from(id, ValueSource::EnvVariable);
            serve.capacity = serve.capacity.filter(|_| !from_environment("capacity"));
            serve.refill_rate = serve
                .refill_rate
                .filter(|_| !from_environment("refill_rate"));
        }
        Ok(cli)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send requests to a server and print the responses; with --concurrency or --duration, run a
    /// load test
    Stress(Stress),
    /// Check the health of a server, for containers: exit code 0 when healthy, 1 when not
    Health(Health),
    /// Check a configuration file, for CI: exit code 0 when it is valid, 2 when not
    Check(CheckFile),
    /// Print what each limit of a configuration does to a request, and why; no request is sent
    Explain(Explain),
    /// Print a configuration with the rate limits of another product's file
    ///
    /// Comments that begin with "# not converted:" name the parts without a counterpart. The exit code
    /// is 0 then as well, and 2 when the file cannot be read or parsed.
    Convert(Convert),
}

/// Flags of the server.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Serve {
    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:8000]
    #[arg(long, env = "TOLLGATE_LISTEN", value_name = "ADDR", value_parser = parse_argument::<SocketAddr>)]
    pub(crate) listen: Option<SocketAddr>,
    /// Configuration file, TOML or JSON by its extension; flags take precedence over the
    /// environment, and the environment over the file
    #[arg(long, env = "TOLLGATE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Tokens in a full bucket [default: 10]
    #[arg(long, env = "TOLLGATE_CAPACITY", value_name = "N", value_parser = parse_argument::<Tokens>, allow_hyphen_values = true)]
    pub(crate) capacity: Option<Tokens>,
    /// Tokens refilled per second; 0.5 is one token in 2 s [default: 1]
    #[arg(long, env = "TOLLGATE_REFILL_RATE", value_name = "R", value_parser = parse_argument::<Rate>, allow_hyphen_values = true)]
    pub(crate) refill_rate: Option<Rate>,
    /// Default quota in one text, such as "100/hour, capacity 20", instead of capacity and
    /// refill-rate
    ///
    /// "10r/s burst 20", "1000 per month", "100 per hour, all at once" or, where costs are bytes,
    /// "10MB/s". It replaces the whole default quota of the file.
    #[arg(long, env = "TOLLGATE_QUOTA", value_name = "TEXT", value_parser = quota)]
    pub(crate) quota: Option<Quota>,
    /// Longest time that a request waits for its tokens before it is refused, in seconds or as
    /// 500ms; 0 refuses at once [default: 0]
    ///
    /// As nginx without nodelay. Requests wait in the order of arrival, at most 16 of a client and
    /// 1024 in total: max_delayed_per_client and max_delayed in the file.
    #[arg(long, env = "TOLLGATE_DELAY", value_name = "TIME", value_parser = parse_argument::<MaxDelay>, allow_hyphen_values = true)]
    pub(crate) delay: Option<MaxDelay>,
    /// Identity of a client: ip, or a header such as header:X-API-Key [default: ip]
    #[arg(long, env = "TOLLGATE_CLIENT", value_name = "SOURCE", value_parser = parse_argument::<Client>)]
    pub(crate) client: Option<Client>,
    /// With a header as client: the only accepted keys; repeatable, or separated by commas
    ///
    /// Prefer the environment variable: other users of the machine can see flags. A key with a
    /// comma is set in the file.
    #[arg(long, env = "TOLLGATE_API_KEYS", value_name = "KEY", value_parser = parse_list_item::<Secret>, value_delimiter = ',', hide_env_values = true)]
    pub(crate) api_keys: Vec<Secret>,
    /// Network of proxies whose X-Forwarded-For and Forwarded headers are trusted; repeatable, or
    /// separated by commas
    ///
    /// The client is the rightmost address in the header that is in none of these networks.
    /// client-address-header selects the header.
    #[arg(long, env = "TOLLGATE_TRUST_PROXY", value_name = "CIDR", value_parser = parse_list_item::<IpNet>, value_delimiter = ',')]
    pub(crate) trust_proxy: Vec<IpNet>,
    /// The header of trusted proxies that names the client: x-forwarded-for, forwarded, x-real-ip
    /// or another one with an address or a list of addresses [default: x-forwarded-for or
    /// forwarded]
    ///
    /// A proxy that writes one header passes others on as the client wrote them. By default either
    /// counts when it is alone, and a request in which both name different clients gets 400.
    #[arg(long, env = "TOLLGATE_CLIENT_ADDRESS_HEADER", value_name = "NAME", value_parser = parse_argument::<HeaderName>)]
    pub(crate) client_address_header: Option<HeaderName>,
    /// Directory that keeps the buckets over restarts and crashes, and shares them with other processes
    /// of this machine that have the same one; best in /run or /dev/shm
    ///
    /// It must belong to this user alone, and is created if it is missing. A server that is started with
    /// the directory and the address of a running one takes its place, without losing a connection.
    /// Linux only.
    #[arg(long, env = "TOLLGATE_STATE", value_name = "DIR", value_parser = parse_argument::<PathBuf>)]
    pub(crate) state: Option<PathBuf>,
    /// With state: directory on a disk, to which the buckets are copied every 10 s and at the end, and
    /// from which they are restored when the other one is empty, as after a reboot
    #[arg(long, env = "TOLLGATE_STATE_COPY", value_name = "DIR", value_parser = parse_argument::<PathBuf>)]
    pub(crate) state_copy: Option<PathBuf>,
    /// Redis or Valkey that shares the limits with other instances, instead of memory
    ///
    /// redis://[user][:password@]host[:port][/database], rediss:// with TLS, unix:///path,
    /// redis+sentinel://host,host/master, or redis+cluster://host,host. Prefer the environment
    /// variable when the URL holds a password.
    #[arg(long, env = "TOLLGATE_REDIS", value_name = "URL", value_parser = parse_argument::<RedisUrl>, hide_env_values = true)]
    pub(crate) redis: Option<RedisUrl>,
    /// exact: every request asks Redis; lease: instances lease tokens in batches and spend them at
    /// memory speed [default: exact]
    #[arg(long, env = "TOLLGATE_REDIS_MODE", value_name = "MODE", value_parser = parse_argument::<RedisMode>)]
    pub(crate) redis_mode: Option<RedisMode>,
    /// Maximum time that a call waits for the reply of Redis; then on-redis-error applies to the
    /// request, and to all others if a check times out as well [default: 50ms]
    #[arg(long, env = "TOLLGATE_REDIS_TIMEOUT", value_name = "TIME", value_parser = parse_argument::<RedisTimeout>, allow_hyphen_values = true)]
    pub(crate) redis_timeout: Option<RedisTimeout>,
    /// Time by which buckets may be ahead of Redis's clock; those further ahead, after the clock has
    /// stepped back, are rebased to it [default: 1s]
    #[arg(long, env = "TOLLGATE_REDIS_CLOCK_TOLERANCE", value_name = "TIME", value_parser = parse_argument::<ClockTolerance>, allow_hyphen_values = true)]
    pub(crate) redis_clock_tolerance: Option<ClockTolerance>,
    /// Prefix of all keys in Redis; instances with the same prefix share limits [default: tollgate]
    #[arg(long, env = "TOLLGATE_REDIS_PREFIX", value_name = "TEXT", value_parser = parse_argument::<RedisPrefix>)]
    pub(crate) redis_prefix: Option<RedisPrefix>,
    /// Policy while Redis is unavailable: local (buckets of this instance), open (allow) or closed
    /// (503) [default: local]
    #[arg(long, env = "TOLLGATE_ON_REDIS_ERROR", value_name = "POLICY", value_parser = parse_argument::<OnRedisError>)]
    pub(crate) on_redis_error: Option<OnRedisError>,
    /// With on-redis-error local: this instance's fraction of the quota, such as 0.25 with four
    /// instances [default: 1]
    #[arg(long, env = "TOLLGATE_LOCAL_SHARE", value_name = "PART", value_parser = parse_argument::<Fraction>, allow_hyphen_values = true)]
    pub(crate) local_share: Option<Fraction>,
    /// With redis-mode lease: maximum fraction of the capacity that all instances together hold on
    /// lease [default: 0.1]
    #[arg(long, env = "TOLLGATE_LEASE_FRACTION", value_name = "PART", value_parser = parse_argument::<Fraction>, allow_hyphen_values = true)]
    pub(crate) lease_fraction: Option<Fraction>,
    /// Gateway: allowed requests are proxied there, instead of the built-in endpoints
    ///
    /// http://host[:port], https://host[:port], or h2c://host[:port] for HTTP/2 without TLS.
    /// /health, /metrics, /config and /admin/ remain endpoints of this server, unless --admin-listen
    /// or gateway.own_prefix moves them. Several upstreams, by path, are set in the file.
    #[arg(long, env = "TOLLGATE_UPSTREAM", value_name = "URL", value_parser = parse_argument::<UpstreamUrl>)]
    pub(crate) upstream: Option<UpstreamUrl>,
    /// Separate address for the admin API, /metrics and /check: host:port or unix:/path/to/socket;
    /// without an admin token, a loopback address or a socket
    ///
    /// They leave the public port. /health is on both, with an upstream on this one only.
    #[arg(long, env = "TOLLGATE_ADMIN_LISTEN", value_name = "ADDR", value_parser = parse_argument::<AdminAddress>)]
    pub(crate) admin_listen: Option<AdminAddress>,
    /// Token of the admin API, sent as Authorization: Bearer TOKEN; without it, the admin API
    /// is closed, except on --admin-listen and on a loopback address without upstream and proxies
    ///
    /// At least 16 characters, fewer only on a loopback address without upstream.
    /// Prefer the environment variable: other users of the machine can see flags.
    #[arg(long, env = "TOLLGATE_ADMIN_TOKEN", value_name = "TOKEN", value_parser = parse_argument::<Secret>, hide_env_values = true)]
    pub(crate) admin_token: Option<Secret>,
    /// Access to POST /check: guarded (needs a token; without one, as the admin API) or open
    /// [default: guarded]
    #[arg(long, env = "TOLLGATE_CHECK", value_name = "ACCESS", value_parser = parse_argument::<Check>)]
    pub(crate) check: Option<Check>,
    /// Token of POST /check, sent as Authorization: Bearer TOKEN; the admin token is accepted as
    /// well
    #[arg(long, env = "TOLLGATE_CHECK_TOKEN", value_name = "TOKEN", value_parser = parse_argument::<Secret>, hide_env_values = true)]
    pub(crate) check_token: Option<Secret>,
    /// Rate limit headers of responses: x (X-RateLimit-*), x-epoch (with the reset as a Unix time),
    /// draft (RateLimit, RateLimit-Policy), both (x and draft) or none [default: x]
    ///
    /// draft is draft-ietf-httpapi-ratelimit-headers-11. With draft and both, a refusal is
    /// application/problem+json when the Accept header ranks that at least as high as JSON.
    #[arg(long, env = "TOLLGATE_HEADERS", value_name = "STYLE", value_parser = parse_argument::<HeaderStyle>)]
    pub(crate) headers: Option<HeaderStyle>,
}

/// Flags of the stress tool.
#[derive(Clone, Debug, Args)]
pub(crate) struct Stress {
    /// URL to send requests to
    #[arg(long, default_value = "http://127.0.0.1:8000/", value_parser = url)]
    pub(crate) url: Uri,
    /// Requests to send [default: 20, or as many as the duration allows]
    #[arg(long, value_name = "N", value_parser = parse_argument::<Whole<1, 1_000_000_000>>)]
    pub(crate) total: Option<Whole<1, 1_000_000_000>>,
    /// Pause after each response, in seconds or as 10ms [default: 0.2, or 0 in a load test]
    #[arg(long, value_name = "TIME", value_parser = parse_argument::<Timeout<0>>, allow_hyphen_values = true)]
    pub(crate) interval: Option<Timeout<0>>,
    /// Load test: number of concurrent connections
    #[arg(long, value_name = "N", value_parser = parse_argument::<Whole<1, 10_000>>)]
    pub(crate) concurrency: Option<Whole<1, 10_000>>,
    /// Load test: duration, in seconds or as 1m [default: 10s, unless there is a total]
    #[arg(long, value_name = "TIME", value_parser = parse_argument::<Timeout<1>>)]
    pub(crate) duration: Option<Timeout<1>>,
}

/// Flags of the check of a configuration.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckFile {
    /// Configuration file, TOML or JSON by its extension
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Flags of the explanation of a request.
#[derive(Clone, Debug, Args)]
pub(crate) struct Explain {
    /// Configuration file, TOML or JSON by its extension
    #[arg(long, env = "TOLLGATE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Method of the request, such as POST
    #[arg(value_name = "METHOD")]
    pub(crate) method: String,
    /// Path of the request, which may have a query
    #[arg(value_name = "PATH")]
    pub(crate) path: String,
    /// Header of the request; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// Address that the request comes from
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    pub(crate) peer: IpAddr,
}

/// Flags of the conversion of another product's file.
#[derive(Clone, Debug, Args)]
pub(crate) struct Convert {
    /// Product that the file is of: nginx, traefik or aspnetcore
    #[arg(value_name = "PRODUCT", value_parser = parse_argument::<Product>)]
    pub(crate) product: Product,
    /// nginx.conf, Traefik's dynamic configuration (YAML or TOML), or the appsettings.json of
    /// AspNetCoreRateLimit; - reads standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Flags of the health check.
#[derive(Clone, Debug, Args)]
pub(crate) struct Health {
    /// URL of the health endpoint, or unix:/path/to/socket of --admin-listen
    #[arg(long, env = "TOLLGATE_HEALTH_URL", default_value = "http://127.0.0.1:8000/health", value_parser = health_url)]
    pub(crate) url: HealthUrl,
    /// Timeout of the response, in seconds or as 500ms
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_argument::<Timeout<1>>)]
    pub(crate) timeout: Timeout<1>,
}

/// Address of a server whose health is checked.
#[derive(Clone, Debug)]
pub(crate) enum HealthUrl {
    Http(Uri),
    /// Path of a Unix socket.
    Socket(PathBuf),
}

impl fmt::Display for HealthUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HealthUrl::Http(url) => url.fmt(f),
            HealthUrl::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Stress {
    /// Returns the maximum duration of a load test.
    pub(crate) fn max_duration(&self) -> Option<Duration> {
        let default = self.total.is_none().then_some(Duration::from_secs(10));
        self.duration.map(|time| time.get()).or(default)
    }
}

/// The error has no name of a field: [`one_line`] adds that of the flag.
fn quota(text: &str) -> Result<Quota, String> {
    text.parse().map_err(|error: QuotaError| {
        let error = error.to_string();
        error.strip_prefix("quota: ").unwrap_or(&error).to_owned()
    })
}

fn health_url(text: &str) -> Result<HealthUrl, String> {
    match socket_path(text) {
        Some(path) => Ok(HealthUrl::Socket(path.to_owned())),
        None => url(text)
            .map(HealthUrl::Http)
            .map_err(|expected| format!("{expected} or unix:/path/to/socket")),
    }
}

fn url(text: &str) -> Result<Uri, String> {
    let uri = text.parse::<Uri>().ok();
    let is_valid = |uri: &Uri| {
        uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty())
    };
    uri.filter(is_valid)
        .ok_or_else(|| "expected a URL such as http://127.0.0.1:8000/".to_owned())
}
