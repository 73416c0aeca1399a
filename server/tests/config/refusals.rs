//! An invalid value ends the start with exit code 2 and one line: the key, the value and the allowed
//! values.

use test_support::Launch;

/// Starts that must fail. Failed checks are collected, so that one run shows all of them.
#[derive(Default)]
struct Refusals {
    failures: Vec<String>,
}

impl Refusals {
    /// `needed`: parts that the one line must contain, ignoring `-`, `_` and case.
    fn expect(&mut self, shown: &str, launch: Launch, needed: &[&str]) {
        let refusal = match launch.start_error() {
            Ok(refusal) => refusal,
            Err(error) => return self.failures.push(format!("{shown}: {error}")),
        };
        let line = refusal.stderr.trim_end();
        if refusal.code != Some(2) {
            self.failures
                .push(format!("{shown}: exit code {:?}: {line}", refusal.code));
        }
        if line.is_empty() || line.lines().count() != 1 {
            self.failures
                .push(format!("{shown}: not one line:\n{line}"));
        }
        for part in needed {
            if !plain(line).contains(&plain(part)) {
                self.failures
                    .push(format!("{shown}: {part:?} is not in: {line}"));
            }
        }
    }

    fn none(self) {
        assert!(self.failures.is_empty(), "\n{}", self.failures.join("\n"));
    }
}

fn plain(text: &str) -> String {
    text.to_lowercase().replace(['-', '_'], "")
}

/// Key, its value as a flag and in the environment, and the parts that the line must contain.
const BAD_VALUES: [(&str, &str, &[&str]); 23] = [
    ("capacity", "0", &["0", "4294967295"]),
    ("capacity", "-1", &["-1", "4294967295"]),
    ("capacity", "1.5", &["1.5", "4294967295"]),
    ("capacity", "4294967296", &["4294967296", "4294967295"]),
    ("capacity", "ten", &["ten", "4294967295"]),
    ("capacity", "", &["4294967295"]),
    (
        "headers",
        "all",
        &["\"all\"", "x, x-epoch, draft, both or none"],
    ),
    (
        "headers",
        "X",
        &["\"X\"", "x, x-epoch, draft, both or none"],
    ),
    ("refill-rate", "0", &["0"]),
    ("refill-rate", "-1", &["-1"]),
    ("refill-rate", "NaN", &["NaN"]),
    ("refill-rate", "inf", &["inf"]),
    ("refill-rate", "-inf", &["-inf"]),
    ("refill-rate", "1e10", &["1"]),
    ("refill-rate", "1e400", &["1"]),
    ("refill-rate", "1e-300", &["1"]),
    ("refill-rate", "fast", &["fast"]),
    ("listen", "nonsense", &["nonsense"]),
    ("listen", "127.0.0.1", &["127.0.0.1", "port"]),
    ("listen", "127.0.0.1:99999", &["127.0.0.1:99999"]),
    ("trust-proxy", "10.0.0.0/33", &["10.0.0.0/33"]),
    ("trust-proxy", "proxy.example", &["proxy.example"]),
    ("client-address-header", "a b", &["a b", "header"]),
];

#[test]
fn an_invalid_flag_ends_the_start() {
    let mut refusals = Refusals::default();
    for (key, value, needed) in BAD_VALUES {
        let flag = format!("--{key}={value}");
        let launch = Launch::new().listen((key != "listen").then_some("127.0.0.1:0"));
        refusals.expect(&flag, launch.args(&[&flag]), &[&[key], needed].concat());
    }
    let redis = ["--redis", "redis://127.0.0.1:1/"];
    for (flags, needed) in [
        (
            &["--redis=nonsense"] as &[&str],
            &["--redis", "redis://"] as &[&str],
        ),
        (
            &["--redis=http://:secret@127.0.0.1/"],
            &["--redis", "not shown", "rediss://"],
        ),
        (&["--redis-mode=lease"], &["redis_mode", "redis"]),
        (
            &[redis[0], redis[1], "--redis-mode=fast"],
            &["--redis-mode", "fast", "exact", "lease"],
        ),
        (
            &[redis[0], redis[1], "--redis-timeout=0"],
            &["--redis-timeout", "0", "1 ms"],
        ),
        (
            &[redis[0], redis[1], "--redis-clock-tolerance=61s"],
            &["--redis-clock-tolerance", "61s", "60 s"],
        ),
        (
            &["--redis-clock-tolerance=2s"],
            &["redis_clock_tolerance", "redis"],
        ),
        (
            &[redis[0], redis[1], "--on-redis-error=panic"],
            &["--on-redis-error", "panic", "local, open or closed"],
        ),
        (
            &[
                redis[0],
                redis[1],
                "--redis-mode=lease",
                "--lease-fraction=1.5",
            ],
            &["--lease-fraction", "1.5", "up to 1"],
        ),
        (
            &[redis[0], redis[1], "--lease-fraction=0.5"],
            &["lease_fraction", "lease"],
        ),
        (
            &[
                redis[0],
                redis[1],
                "--on-redis-error=open",
                "--local-share=0.5",
            ],
            &["local_share", "local"],
        ),
        (
            &[redis[0], redis[1], "--local-share=0"],
            &["--local-share", "0", "above 0"],
        ),
        (
            &[redis[0], redis[1], "--redis-prefix=a b"],
            &["--redis-prefix", "a b", "letters"],
        ),
    ] {
        refusals.expect(&flags.join(" "), Launch::new().args(flags), needed);
    }
    refusals.expect(
        "unknown flag",
        Launch::new().args(&["--burst", "5"]),
        &["--burst"],
    );
    refusals.expect(
        "no value",
        Launch::new().args(&["--capacity"]),
        &["capacity"],
    );
    refusals.expect(
        "stray word",
        Launch::new().args(&["capacity"]),
        &["capacity"],
    );
    refusals.none();
}

#[test]
fn an_invalid_value_in_the_environment_ends_the_start() {
    let mut refusals = Refusals::default();
    for (key, value, needed) in BAD_VALUES {
        let name = format!("TOLLGATE_{}", key.to_uppercase().replace('-', "_"));
        let launch = Launch::new().listen((key != "listen").then_some("127.0.0.1:0"));
        if value.is_empty() {
            continue; // An empty variable counts as unset.
        }
        let shown = format!("{name}={value}");
        refusals.expect(
            &shown,
            launch.env(&name, value),
            &[&[name.as_str()], needed].concat(),
        );
    }
    refusals.none();
}

#[test]
fn an_invalid_value_in_a_toml_file_ends_the_start() {
    let mut refusals = Refusals::default();
    let files: &[(&str, &[&str])] = &[
        ("capacity = 0", &["capacity", "0", "4294967295"]),
        ("capacity = -1", &["capacity", "-1", "4294967295"]),
        ("capacity = 1.5", &["capacity", "1.5"]),
        ("capacity = 4294967296", &["capacity", "4294967296"]),
        ("capacity = \"ten\"", &["capacity", "ten"]),
        (
            "headers = \"all\"",
            &["headers", "\"all\"", "x, x-epoch, draft, both or none"],
        ),
        (
            "headers = 1",
            &["headers", "1", "x, x-epoch, draft, both or none"],
        ),
        ("refill_rate = 0", &["refill_rate", "0"]),
        ("refill_rate = 0.0", &["refill_rate", "0"]),
        ("refill_rate = -2.5", &["refill_rate", "-2.5"]),
        ("refill_rate = nan", &["refill_rate", "nan"]),
        ("refill_rate = inf", &["refill_rate", "inf"]),
        ("refill_rate = -inf", &["refill_rate", "-inf"]),
        ("refill_rate = 1e10", &["refill_rate", "1"]),
        ("refill_rate = \"fast\"", &["refill_rate", "fast"]),
        ("listen = \"nonsense\"", &["listen", "nonsense"]),
        ("listen = 8000", &["listen", "8000"]),
        (
            "trust_proxy = [\"10.0.0.0/33\"]",
            &["trust_proxy", "10.0.0.0/33"],
        ),
        ("trust_proxy = [7]", &["trust_proxy", "7"]),
        ("admin_token = 7", &["admin_token", "7"]),
        (
            "client_address_header = \"x-real-ip\"",
            &["client_address_header", "trust_proxy", "x-real-ip"],
        ),
        (
            "client_address_header = \"a b\"\ntrust_proxy = [\"10.0.0.0/8\"]",
            &["client_address_header", "a b"],
        ),
        ("[cors]", &["cors.origins", "none"]),
        ("[cors]\norigins = []", &["cors.origins", "none"]),
        (
            "[cors]\norigins = [\"https://app.example/\"]",
            &["cors.origins", "https://app.example/"],
        ),
        (
            "[cors]\norigins = [\"https://App.example\"]",
            &["cors.origins", "lower case"],
        ),
        (
            "[cors]\norigins = [\"https://app.example:443\"]",
            &["cors.origins", "443"],
        ),
        ("[cors]\norigins = [\"null\"]", &["cors.origins", "null"]),
        (
            "[cors]\norigins = [\"*\", \"https://app.example\"]",
            &["cors.origins", "alone"],
        ),
        (
            "[cors]\norigins = [\"*\"]\ncredentials = true",
            &["cors.credentials", "false"],
        ),
        (
            "[cors]\norigins = [\"*\"]\npreflight = \"pass\"",
            &["cors.preflight", "pass", "answer"],
        ),
        (
            "[cors]\norigins = [\"*\"]\npreflight = \"drop\"",
            &["cors.preflight", "drop", "answer or pass"],
        ),
        (
            "[cors]\norigins = [\"*\"]\nmethods = [\"GET\"]",
            &["methods", "origins"],
        ),
        (
            "client = { header = \"X-API-Key\" }\nupstream = \"http://127.0.0.1:1\"\n[gateway]\npass_headers = [\"a_b\", \"x_api_key\"]",
            &["gateway.pass_headers[1]", "x_api_key"],
        ),
        (
            "upstream = \"http://127.0.0.1:1\"\n[gateway]\npass_headers = [\"X_Forwarded_For\"]",
            &["gateway.pass_headers[0]", "x_forwarded_for"],
        ),
        (
            "client = { header = \"Authorization\" }\napi_keys = [\"Bearer a b\"]",
            &["api_keys[0]", "one word", "not shown"],
        ),
        ("ipv6_prefix = 129", &["ipv6_prefix", "129", "128"]),
        ("ipv6_prefix = -1", &["ipv6_prefix", "-1", "128"]),
        ("client = \"name\"", &["client", "name", "ip"]),
        (
            "client = { header = \"not a header\" }",
            &["client", "not a header"],
        ),
        (
            "client = { cookie = \"id\" }",
            &["client", "cookie", "header"],
        ),
        ("client = 5", &["client", "5"]),
        ("api_keys = \"one\"", &["api_keys"]),
        ("api_keys = [5]", &["api_keys", "5"]),
        (
            "refill = { every = \"0s\", mode = \"interval\" }",
            &["every", "0s"],
        ),
        (
            "refill = { every = \"soon\", mode = \"interval\" }",
            &["every", "soon"],
        ),
        (
            "refill = { every = \"-1s\", mode = \"interval\" }",
            &["every", "-1s"],
        ),
        (
            "refill = { every = \"1h\", mode = \"sometimes\" }",
            &["mode", "sometimes", "interval"],
        ),
        (
            "refill = { every = \"1h\", mode = \"interval\", at = 5 }",
            &["at", "every"],
        ),
        ("refill = 5", &["refill", "5"]),
        ("[[routes]]\npath = \"/\"\ncost = -1", &["cost", "-1"]),
        (
            "[[routes]]\npath = \"/\"\ncost = 4294967296",
            &["cost", "4294967296"],
        ),
        ("[[routes]]\npath = \"/\"\nprice = 2", &["price", "cost"]),
        (
            "[[routes]]\nmethod = \"B AD\"\npath = \"/\"\ncost = 1",
            &["method", "B AD"],
        ),
        ("[[routes]]\ncost = 1", &["path"]),
        (
            "[[rules]]\nclient_id = \"127.0.0.1\"\ncapacity = 0",
            &["capacity", "0", "4294967295"],
        ),
        (
            "[[rules]]\nclient_id = \"127.0.0.1\"\ncapacity = 1\nrefill_rate = nan",
            &["refill_rate", "nan"],
        ),
        ("[[rules]]\ncapacity = 5\nrefill_rate = 1.0", &["client_id"]),
        ("[connections]\nmax = 0", &["max", "0", "1"]),
        (
            "[connections]\nmax_per_address = 0",
            &["max_per_address", "0", "1"],
        ),
        (
            "[connections]\nheader_timeout = \"0s\"",
            &["header_timeout", "0s"],
        ),
        (
            "[connections]\nidle_timeout = \"long\"",
            &["idle_timeout", "long"],
        ),
        ("[connections]\nbody_timeout = -5", &["body_timeout", "-5"]),
        (
            "[connections]\nmax_body_bytes = -1",
            &["max_body_bytes", "-1"],
        ),
        (
            "[connections]\nmax_header_bytes = 0",
            &["max_header_bytes", "0"],
        ),
        (
            "[connections]\nstall_timeout = \"0s\"",
            &["stall_timeout", "0s"],
        ),
        (
            "[connections]\nmax_unread_bytes = 1000",
            &["connections.max_unread_bytes", "1000", "1048576"],
        ),
        (
            "[connections]\nmax_unread_bytes_per_connection = 2000000",
            &[
                "connections.max_unread_bytes_per_connection",
                "expected at least 8388608",
                "2000000",
            ],
        ),
        (
            "[connections]\nmax_unread_bytes = 2000000",
            &[
                "connections.max_unread_bytes",
                "expected at least 8388608",
                "2000000",
            ],
        ),
        (
            "[connections]\ntimeout = \"1s\"",
            &["timeout", "header_timeout"],
        ),
        ("max_clients = 0", &["max_clients", "0", "1"]),
        ("delay = \"2m\"", &["delay", "2m", "to 60 s"]),
        (
            "max_delayed = 5",
            &["max_delayed", "expected delay", "got none"],
        ),
        (
            "delay = 1\nmax_delayed_per_client = 0",
            &["max_delayed_per_client", "0", "from 1"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nquota = \"9/day\"\nname = \"a b\"",
            &["routes[0].name", "a b", "letters"],
        ),
        (
            "[[routes]]\npath = \"/a\"\ncost = 2\nname = \"a\"",
            &["routes[0].name", "quota"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nquota = \"9/day\"\nname = \"default\"",
            &["routes[0].name", "default"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nquota = \"9/day\"\nname = \"a\"\n\
             [[routes]]\npath = \"/b\"\nquota = \"9/day\"\nname = \"a\"",
            &["routes[1].name", "got a again"],
        ),
        ("quota = \"many\"", &["quota", "many"]),
        ("quota = \"100/hour\"\ncapacity = 5", &["quota"]),
        ("tokens = 5\ntime = 60\ncapacity = 7", &["capacity"]),
        ("burst = 5", &["burst", "capacity"]),
        ("Capacity = 5", &["Capacity"]),
        ("[server]\ncapacity = 5", &["server"]),
        ("capacity = ", &["a.toml"]),
        ("capacity = 5\ncapacity = 6", &["capacity"]),
        ("{\"capacity\": 5}", &["a.toml"]),
    ];
    for (text, needed) in files {
        refusals.expect(text, Launch::new().config("a.toml", text), needed);
    }
    refusals.none();
}

#[test]
fn an_invalid_value_in_a_json_file_ends_the_start() {
    let mut refusals = Refusals::default();
    let files: &[(&str, &[&str])] = &[
        (r#"{"capacity": 0}"#, &["capacity", "0", "4294967295"]),
        (r#"{"capacity": -1}"#, &["capacity", "-1", "4294967295"]),
        (r#"{"capacity": "10"}"#, &["capacity", "10"]),
        (r#"{"refill_rate": 0}"#, &["refill_rate", "0"]),
        (r#"{"refill_rate": 1e400}"#, &["refill_rate", "1000000000"]),
        (r#"{"capacity": -1e400}"#, &["capacity", "4294967295"]),
        (r#"{"refill_rate": NaN}"#, &["refill_rate"]),
        (
            r#"{"tokens": 0, "time": 3600}"#,
            &["tokens", "0", "4294967295"],
        ),
        (
            r#"{"tokens": -1, "time": 3600}"#,
            &["tokens", "-1", "4294967295"],
        ),
        (r#"{"tokens": 1e99, "time": 3600}"#, &["tokens"]),
        (r#"{"tokens": 100, "time": 0}"#, &["time", "0"]),
        (r#"{"tokens": 100, "time": -5}"#, &["time", "-5"]),
        (r#"{"tokens": 100, "time": "1h"}"#, &["time", "1h"]),
        (r#"{"tokens": 100, "time": 1e30}"#, &["time"]),
        (r#"{"tokens": 100, "time": 3600, "burst": 1}"#, &["burst"]),
        (r#"{"capacity": 5"#, &["a.json"]),
        ("", &["a.json"]),
        ("[]", &["a.json"]),
        ("[10, 1]", &["a.json"]),
        ("null", &["a.json"]),
    ];
    for (text, needed) in files {
        refusals.expect(text, Launch::new().config("a.json", text), needed);
    }
    refusals.none();
}

#[test]
fn a_file_that_cannot_be_read_ends_the_start() {
    let mut refusals = Refusals::default();
    let missing = Launch::new().args(&["--config", "/nowhere/settings.toml"]);
    refusals.expect("missing", missing, &["config", "/nowhere/settings.toml"]);
    let from_environment = Launch::new().env("TOLLGATE_CONFIG", "/nowhere/settings.toml");
    refusals.expect(
        "missing",
        from_environment,
        &["config", "/nowhere/settings.toml"],
    );
    let yaml = Launch::new().config("settings.yaml", "capacity: 5\n");
    refusals.expect("another ending", yaml, &["settings.yaml", "toml", "json"]);
    let bare = Launch::new().config("settings", "capacity = 5\n");
    refusals.expect("no ending", bare, &["settings", "toml", "json"]);
    let launch = Launch::new();
    let directory = launch.file("a.toml", "").with_file_name("directory.toml");
    std::fs::create_dir(&directory).unwrap();
    let launch = launch.args(&["--config", directory.to_str().unwrap()]);
    refusals.expect("a directory", launch, &["directory.toml"]);
    let launch = Launch::new();
    let binary = launch.file("binary.toml", "");
    std::fs::write(&binary, b"capacity = 5 # \xff\xfe").unwrap();
    let launch = launch.args(&["--config", binary.to_str().unwrap()]);
    refusals.expect("no UTF-8", launch, &["binary.toml"]);
    refusals.none();
}
