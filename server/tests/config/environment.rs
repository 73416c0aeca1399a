//! Environment variables: empty ones are unset, and lists accept spaces.

use test_support::{Launch, Server};

const VARIABLES: [&str; 17] = [
    "TOLLGATE_LISTEN",
    "TOLLGATE_CONFIG",
    "TOLLGATE_CAPACITY",
    "TOLLGATE_REFILL_RATE",
    "TOLLGATE_TRUST_PROXY",
    "TOLLGATE_REDIS",
    "TOLLGATE_REDIS_MODE",
    "TOLLGATE_REDIS_TIMEOUT",
    "TOLLGATE_REDIS_PREFIX",
    "TOLLGATE_ON_REDIS_ERROR",
    "TOLLGATE_LOCAL_SHARE",
    "TOLLGATE_LEASE_FRACTION",
    "TOLLGATE_UPSTREAM",
    "TOLLGATE_ADMIN_LISTEN",
    "TOLLGATE_ADMIN_TOKEN",
    "TOLLGATE_CHECK",
    "TOLLGATE_CHECK_TOKEN",
];

#[test]
fn an_empty_variable_is_unset() {
    let launch = VARIABLES
        .into_iter()
        .fold(Launch::new(), |launch, name| launch.env(name, ""));
    let server = launch
        .env("TOLLGATE_HEADERS", "")
        .env("TOLLGATE_LOG", "")
        .start();
    assert_eq!(server.get("/").limit(), 10);
    assert_eq!(server.get("/config").status, 200, "no token is set");

    let file = Launch::new()
        .config("a.toml", "capacity = 5\ntrust_proxy = ['127.0.0.1']\n")
        .env("TOLLGATE_CAPACITY", "")
        .env("TOLLGATE_TRUST_PROXY", "")
        .start();
    let response = file
        .client()
        .get_with("/", &[("X-Forwarded-For", "192.0.2.7")]);
    assert_eq!(
        (response.limit(), response.from().as_str()),
        (5, "192.0.2.7"),
        "the file counts"
    );
}

#[test]
fn an_empty_flag_is_an_error() {
    for flag in ["--capacity=", "--admin-token=", "--trust-proxy="] {
        let refusal = Launch::new().args(&[flag]).start_error().unwrap();
        assert_eq!(refusal.code, Some(2), "{flag}: {}", refusal.stderr);
        let name = flag.trim_end_matches('=');
        assert!(refusal.stderr.contains(name), "{flag}: {}", refusal.stderr);
    }
}

#[test]
fn an_empty_variable_of_the_health_check_is_unset() {
    let mut command = std::process::Command::new(test_support::server::binary());
    let output = command
        .args(["health", "--timeout", "1ms"])
        .env("TOLLGATE_HEALTH_URL", "")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() || text.contains("127.0.0.1:8000"),
        "the default URL: {text}"
    );
}

#[test]
fn lists_accept_spaces_after_commas() {
    let list = "192.0.2.0/24, 127.0.0.1 , 2001:db8::/32";
    let launches = [
        Launch::new().env("TOLLGATE_TRUST_PROXY", list),
        Launch::new().args(&["--trust-proxy", list]),
    ];
    for launch in launches {
        let server: Server = launch.start();
        let headers = [("X-Forwarded-For", "198.51.100.1, 192.0.2.9")];
        assert_eq!(
            server.client().get_with("/", &headers).from(),
            "198.51.100.1"
        );
    }
}
