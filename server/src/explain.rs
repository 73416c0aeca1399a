//! Commands that look at a configuration without serving: whether it is valid, and what it does to a
//! request.

use std::process::ExitCode;

use hyper::Request;

use crate::{
    app::App,
    cli::{CheckFile, Explain, Serve},
    config::Settings,
    pipeline::{self, ExplainedLimit},
    stdout,
};

/// Note on quotas and rules that may differ from those of the file.
const NOT_IN_REDIS: &str =
    "Redis is not asked: rules and quotas that the admin API has set there count instead\n";

/// Checks a configuration file. An error is one line, and the exit code is 2.
pub(crate) fn check(flags: &CheckFile) -> ExitCode {
    let file = flags.file.display();
    let serve = Serve {
        config: Some(flags.file.clone()),
        ..Serve::default()
    };
    match app(serve) {
        Ok(Unstarted { settings, .. }) => {
            let count = |count: usize, what: &str| match count {
                1 => format!("1 {what}"),
                count => format!("{count} {what}s"),
            };
            let parts = [
                count(settings.limits.list.len(), "limit"),
                count(settings.routes.len(), "route"),
                count(settings.rules.len(), "rule"),
            ];
            stdout::print(&format!("{file}: valid, with {}\n", parts.join(", ")));
            ExitCode::SUCCESS
        }
        Err(error) => failed("check", &error),
    }
}

/// Prints what each limit does to a request. An error is one line, and the exit code is 2.
pub(crate) fn explain(flags: &Explain) -> ExitCode {
    let serve = Serve {
        config: flags.config.clone(),
        ..Serve::default()
    };
    match explained(serve, flags) {
        Ok(text) => {
            stdout::print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => failed("explain", &error),
    }
}

fn failed(command: &str, error: &str) -> ExitCode {
    eprintln!("tollgate {command}: {error}");
    ExitCode::from(2)
}

fn explained(serve: Serve, flags: &Explain) -> Result<String, String> {
    let Unstarted { app, has_redis, .. } = app(serve)?;
    // A text without a slash is the name of a host to the parser of URIs.
    if !flags.path.starts_with('/') {
        let path = &flags.path;
        return Err(format!(
            "PATH: expected a path that begins with a slash, got {path:?}"
        ));
    }
    let mut request = Request::builder()
        .method(flags.method.as_str())
        .uri(flags.path.as_str());
    for header in &flags.headers {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| format!("--header: expected NAME: VALUE, got {header:?}"))?;
        request = request.header(name.trim(), value.trim());
    }
    let request = request.body(()).map_err(|error| error.to_string())?;
    let caller = app.caller((flags.peer, 0).into());
    let (method, path) = (request.method(), request.uri().path());
    let title = format!("{method} {path} from {}\n", flags.peer);
    Ok(match pipeline::explain(&app, &request, &caller) {
        Ok(limits) if limits.is_empty() => format!("{title}no limit applies\n"),
        Ok(limits) => {
            let note = if has_redis { NOT_IN_REDIS } else { "" };
            title + &table(&limits) + note
        }
        Err(reason) => format!("{title}{reason}\n"),
    })
}

/// Server that is not started.
struct Unstarted {
    settings: Settings,
    /// With its buckets in memory.
    app: App,
    /// The configuration has Redis.
    has_redis: bool,
}

/// Creates the state of a server, without Redis.
fn app(serve: Serve) -> Result<Unstarted, String> {
    let mut settings = Settings::load(serve)?;
    let has_redis = settings.redis.take().is_some();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let app = runtime.block_on(App::new(&settings))?;
    Ok(Unstarted {
        settings,
        app,
        has_redis,
    })
}

/// Formats limits as a table.
fn table(limits: &[ExplainedLimit]) -> String {
    let header = ["limit", "quota", "key", "cost", "effect"].map(str::to_owned);
    let rows = limits.iter().map(|limit| {
        let ExplainedLimit {
            name,
            quota,
            key,
            cost,
            effect,
        } = limit;
        [name, quota, key, cost, effect].map(Clone::clone)
    });
    let rows: Vec<[String; 5]> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "
quota = '50/s'
deny = ['203.0.113.0/24']
[[limits]]
name = 'login'
match = 'POST /login'
quota = ['5/minute', '20/hour']
[[limits]]
name = 'key'
key = 'header:X-API-Key'
missing = 'skip'
quota = '100/minute'
cost = { '/search' = 5 }
[[limits]]
name = 'mobile'
header = 'X-Client: mobile'
quota = '9/s'
[[limits]]
name = 'reports'
match = '/reports/*'
quota = '10/hour'
instead_of = ['default', 'key']
";

    fn explain(method: &str, path: &str, headers: &[&str], peer: &str) -> String {
        explain_in(LIMITS, (method, path), headers, peer)
    }

    fn explain_in(
        toml: &str,
        (method, path): (&str, &str),
        headers: &[&str],
        peer: &str,
    ) -> String {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(&file, toml).unwrap();
        let serve = Serve {
            config: Some(file.path().to_owned()),
            ..Serve::default()
        };
        let flags = Explain {
            config: None,
            method: method.to_owned(),
            path: path.to_owned(),
            headers: headers.iter().map(|&header| header.to_owned()).collect(),
            peer: peer.parse().unwrap(),
        };
        explained(serve, &flags).unwrap_or_else(|error| error)
    }

    #[test]
    fn each_limit_is_explained() {
        let text = explain("POST", "/login", &["X-API-Key: alice"], "192.0.2.7");
        assert_eq!(
            text,
            "\
POST /login from 192.0.2.7
limit    quota       key        cost  effect
default  50/second   192.0.2.7  1     applies: the default limit
login    5/minute    192.0.2.7  1     applies
login-2  20/hour     192.0.2.7  1     applies
key      100/minute  alice      1     applies
mobile   9/second                     no: the request has no x-client: mobile
reports  10/hour                      no: matches /reports/* only
"
        );
    }

    #[test]
    fn effects_name_their_reason() {
        let search = explain("GET", "/search?q=1", &["x-api-key: a"], "192.0.2.7");
        assert!(search.contains(" a          5     applies"), "{search}");
        let reports = explain("GET", "/reports/1", &["x-api-key: a"], "192.0.2.7");
        assert_eq!(
            reports.matches("no: replaced by reports").count(),
            2,
            "{reports}"
        );
        let without_key = explain("GET", "/", &[], "192.0.2.7");
        assert!(
            without_key.contains("no: the request has no key"),
            "{without_key}"
        );
        let denied = explain("GET", "/", &[], "203.0.113.7");
        assert!(
            denied.ends_with("403: the address is in the list deny\n"),
            "{denied}"
        );
        let own = explain("GET", "/health", &[], "192.0.2.7");
        assert!(own.contains("/health belongs to this server"), "{own}");
        assert!(explain("GET", "/", &["nonsense"], "192.0.2.7").starts_with("--header: expected"));
        assert_eq!(
            explain("GET", "nopath", &[], "192.0.2.7"),
            "PATH: expected a path that begins with a slash, got \"nopath\""
        );
    }

    #[test]
    fn limits_are_replaced_as_by_the_server() {
        let toml = "
quota = '50/s'
[[limits]]
name = 'all'
quota = '9/s'
instead_of = 'default'
[[limits]]
name = 'reports'
match = '/reports/*'
quota = '10/hour'
instead_of = 'all'
";
        let of = |path: &str| explain_in(toml, ("GET", path), &[], "192.0.2.7");
        assert_eq!(
            of("/reports/1"),
            "\
GET /reports/1 from 192.0.2.7
limit    quota      key        cost  effect
default  50/second  192.0.2.7        no: replaced by all
all      9/second   192.0.2.7        no: replaced by reports
reports  10/hour    192.0.2.7  1     applies
"
        );
        // Some server may read another path.
        let text = of("/reports/1;x");
        assert_eq!(text.matches("  1     applies").count(), 3, "{text}");
    }

    #[test]
    fn client_without_a_listed_key_is_rejected() {
        let explain = |toml: &str, headers: &[&str]| {
            let toml = format!("client = {{ header = 'X-API-Key' }}\n{toml}");
            let text = explain_in(&toml, ("GET", "/"), headers, "192.0.2.7");
            text.lines().skip(1).collect::<Vec<_>>().join("\n")
        };
        let listed = "api_keys = ['alice']\nquota = '5/s'\n";
        let unknown = ["X-API-Key: bob"];
        let by_address = "api_keys = ['alice']\n[[limits]]\nname = 'a'\nkey = 'ip'\nquota = '9/s'";
        for toml in [
            listed.to_owned(),
            by_address.to_owned(),
            format!("{listed}allow = ['192.0.2.0/24']"),
        ] {
            assert_eq!(explain(&toml, &unknown), "401: unknown API key", "{toml}");
            assert_eq!(explain(&toml, &[]), "401: API key required", "{toml}");
            let known = explain(&toml, &["X-API-Key: alice"]);
            assert!(!known.contains("401"), "{known}");
        }
        let free = format!("{by_address}\ncost = 0");
        assert!(explain(&free, &unknown).contains("costs nothing"));
        assert_eq!(explain("quota = '5/s'", &[]), "401: API key required");
        let unlisted = "[[limits]]\nname = 'a'\nkey = 'ip'\nquota = '9/s'";
        assert!(explain(unlisted, &[]).contains("applies"));
    }

    #[test]
    fn conflicting_headers_are_rejected() {
        let toml = "trust_proxy = ['192.0.2.7']\n[[limits]]\nname = 'a'\nquota = '9/s'";
        let headers = ["X-Forwarded-For: 1.2.3.4", "Forwarded: for=1.2.3.5"];
        let text = explain_in(toml, ("GET", "/"), &headers, "192.0.2.7");
        let expected = "400: X-Forwarded-For and Forwarded name different clients\n";
        assert!(text.ends_with(expected), "{text}");
    }

    /// *Caught:* other limits that apply beside one that rejects the request.
    #[test]
    fn no_limit_applies_beside_one_that_rejects() {
        let toml = "
quota = '50/s'
[[routes]]
path = '/reports'
quota = '9/s'
[[limits]]
name = 'ip'
quota = '8/s'
[[limits]]
name = 'key'
key = 'header:X-API-Key'
quota = '7/s'
[[limits]]
name = 'next'
quota = '6/s'
shadow = true
[[limits]]
name = 'other'
match = '/other'
quota = '5/s'
";
        let of =
            |path: &str, headers: &[&str]| explain_in(toml, ("GET", path), headers, "192.0.2.7");
        assert_eq!(
            of("/reports", &[]),
            "\
GET /reports from 192.0.2.7
limit     quota     key        cost  effect
/reports  9/second  192.0.2.7        no: key rejects the request
ip        8/second  192.0.2.7        no: key rejects the request
key       7/second                   401: the request has no valid key
next      6/second  192.0.2.7        no: key rejects the request
other     5/second                   no: matches /other only
"
        );
        let default = of("/", &[]);
        let line = "default  50/second  192.0.2.7        no: key rejects the request\n";
        assert!(default.contains(line), "{default}");
        let with_key = of("/reports", &["X-API-Key: a"]);
        assert_eq!(with_key.matches("rejects").count(), 0, "{with_key}");
    }

    /// *Caught:* limits that apply where the server responds with 400.
    #[test]
    fn a_path_with_too_many_limits_is_rejected() {
        let limits = (0..3).map(|index| {
            let quota = "quota = ['1/s', '2/s', '3/s']";
            format!("[[limits]]\nname = 'l{index}'\nmatch = '/{index}/*'\n{quota}\n")
        });
        let toml: String = limits.collect();
        let of = |path: &str| explain_in(&toml, ("GET", path), &[], "192.0.2.7");
        let text = of("/0/..%2f1/..%5c2");
        assert!(
            text.ends_with("400: path: expected a path to which at most 8 limits apply\n"),
            "{text}"
        );
        assert_eq!(of("/0/..%2f1").matches("  1     applies").count(), 6);
    }

    #[test]
    fn quotas_in_redis_may_differ() {
        let of = |toml: &str| explain_in(toml, ("GET", "/"), &[], "192.0.2.7");
        let limit = "[[limits]]\nname = 'a'\nquota = '5/s'\n";
        assert!(!of(limit).contains("Redis"));
        // No server is there.
        let with_redis = of(&format!("redis = 'redis://127.0.0.1:1'\n{limit}"));
        assert!(with_redis.contains("applies"), "{with_redis}");
        assert!(with_redis.ends_with(NOT_IN_REDIS), "{with_redis}");
    }

    #[test]
    fn rule_of_a_client_is_its_quota() {
        let toml = "quota = '50/s'\n[[rules]]\nclient_id = '192.0.2.7'\nquota = '7/s'\n";
        let of = |peer: &str| explain_in(toml, ("GET", "/"), &[], peer);
        let ruled = of("192.0.2.7");
        assert!(ruled.contains("default  7/second  "), "{ruled}");
        assert!(ruled.contains("by the rule of this client"), "{ruled}");
        let other = of("192.0.2.8");
        assert!(other.contains("default  50/second  "), "{other}");
        assert!(!other.contains("rule"), "{other}");
    }
}
