//! Flags, environment and file: their settings and their precedence.

use std::net::TcpListener;

use test_support::{Launch, Response, Server};

const FILES: [(&str, &str); 2] = [
    ("settings.toml", "capacity = 5\nrefill_rate = 0.001\n"),
    ("settings.json", r#"{"capacity": 5, "refill_rate": 0.001}"#),
];

#[test]
fn a_file_is_toml_or_json_by_its_extension() {
    for (name, text) in FILES {
        let server = Launch::new().config(name, text).start();
        let response = server.get("/");
        assert_eq!((response.limit(), response.remaining()), (5, 4), "{name}");
        assert!(
            (990..=1000).contains(&response.reset()),
            "{name}: the rate applies too"
        );
    }
    let wrong = Launch::new()
        .config("settings.json", FILES[0].1)
        .start_error()
        .unwrap();
    assert_eq!(wrong.code, Some(2), "TOML in a .json file");
}

#[test]
fn flags_take_precedence_over_the_environment_and_the_environment_over_the_file() {
    for (name, text) in FILES {
        let file = Launch::new().config(name, text).start();
        assert_eq!(file.get("/").limit(), 5);

        let environment = Launch::new()
            .config(name, text)
            .env("TOLLGATE_CAPACITY", "6")
            .start();
        let response = environment.get("/");
        assert_eq!(response.limit(), 6);
        assert!(
            response.reset() > 900,
            "the file sets the keys that the environment lacks"
        );

        let flag = Launch::new()
            .config(name, text)
            .env("TOLLGATE_CAPACITY", "6")
            .args(&["--capacity", "7"])
            .start();
        let response = flag.get("/");
        assert_eq!(response.limit(), 7);
        assert!(response.reset() > 900);
    }
}

#[test]
fn the_refill_rate_follows_the_same_order() {
    let launch = || Launch::new().config(FILES[0].0, FILES[0].1);
    let environment = launch().env("TOLLGATE_REFILL_RATE", "0.01").start();
    assert!((90..=100).contains(&environment.get("/").reset()));
    let flag = launch()
        .env("TOLLGATE_REFILL_RATE", "0.01")
        .args(&["--refill-rate", "0.02"]);
    assert!((40..=50).contains(&flag.start().get("/").reset()));
    let half = Server::start(&["--refill-rate", "0.5"]);
    assert_eq!(half.get("/").reset(), 2, "0.5 is one token in 2 s");
}

#[test]
fn the_quota_follows_the_same_order() {
    for (name, text) in FILES {
        let launch = || Launch::new().config(name, text);
        let limits = |launch: Launch| {
            let response = launch.start().get("/");
            (response.limit(), (990..=1000).contains(&response.reset()))
        };
        assert_eq!(limits(launch().args(&["--quota", "9/9000s"])), (9, true));
        assert_eq!(limits(launch().env("TOLLGATE_QUOTA", "9/9000S")), (9, true));
        let both = || launch().env("TOLLGATE_QUOTA", "8/s, burst 20");
        assert_eq!(limits(both().args(&["--quota", "9/9000s"])), (9, true));
        let older = || {
            launch()
                .env("TOLLGATE_CAPACITY", "6")
                .env("TOLLGATE_REFILL_RATE", "5")
        };
        assert_eq!(limits(older().args(&["--quota", "9/9000s"])), (9, true));
        let conflict = older().env("TOLLGATE_QUOTA", "9/9000s").start_error();
        let conflict = conflict.unwrap();
        assert_eq!(conflict.code, Some(2));
        assert!(conflict.stderr.contains("quota: expected no other flag"));
    }
}

#[test]
fn client_and_api_keys_follow_the_same_order() {
    let launch = || {
        let file = "client = 'header:X-File-Key'\napi_keys = ['file']\n";
        Launch::new().config("a.toml", file)
    };
    let accepts = |server: &Server, header: &str, key: &str| {
        let status = server.client().get_with("/", &[(header, key)]).status;
        assert!([200, 401].contains(&status));
        status == 200
    };
    let file = launch().start();
    assert!(accepts(&file, "X-File-Key", "file") && !accepts(&file, "X-File-Key", "a"));
    let environment = || {
        launch()
            .env("TOLLGATE_CLIENT", "header:X-API-Key")
            .env("TOLLGATE_API_KEYS", "a, b c")
    };
    let server = environment().start();
    assert!(accepts(&server, "X-API-Key", "a") && accepts(&server, "X-API-Key", "b c"));
    assert!(!accepts(&server, "X-API-Key", "file") && !accepts(&server, "X-File-Key", "a"));
    let flags = ["--client", "header:X-Other", "--api-keys", "d"];
    let server = environment().args(&flags).start();
    assert!(accepts(&server, "X-Other", "d") && !accepts(&server, "X-Other", "a"));
    let none = Launch::new().args(&["--api-keys", "d"]).start_error();
    assert!(none.unwrap().stderr.contains("api_keys: expected client"));
}

#[test]
fn the_environment_may_name_the_file() {
    let launch = Launch::new();
    let path = launch.file(FILES[0].0, FILES[0].1);
    let server = launch
        .env("TOLLGATE_CONFIG", path.to_str().unwrap())
        .start();
    assert_eq!(server.get("/").limit(), 5);
}

#[test]
fn the_address_follows_the_same_order() {
    let server = Launch::new()
        .listen(None)
        .env("TOLLGATE_LISTEN", "127.0.0.2:0")
        .start();
    assert_eq!(server.address.ip().to_string(), "127.0.0.2");
    assert_ne!(server.address.port(), 0, "the line shows the picked port");
    assert_eq!(server.get("/health").status, 200);

    let file = "listen = \"127.0.0.3:0\"\n";
    let server = Launch::new().listen(None).config("a.toml", file).start();
    assert_eq!(server.address.ip().to_string(), "127.0.0.3");

    let server = Launch::new()
        .env("TOLLGATE_LISTEN", "127.0.0.2:0")
        .config("a.toml", file)
        .start();
    assert_eq!(
        server.address.ip().to_string(),
        "127.0.0.1",
        "the harness sets the flag"
    );
}

#[test]
fn the_admin_token_follows_the_same_order() {
    let launch = || Launch::new().config("a.toml", "admin_token = \"file\"\n");
    let accepts = |server: &Server, token: &str| {
        let value = format!("Bearer {token}");
        server
            .client()
            .get_with("/config", &[("Authorization", &value)])
            .status
            == 200
    };
    let server = launch().start();
    assert!(accepts(&server, "file"));
    let server = launch().env("TOLLGATE_ADMIN_TOKEN", "environment").start();
    assert!(accepts(&server, "environment") && !accepts(&server, "file"));
    let launch = launch().env("TOLLGATE_ADMIN_TOKEN", "environment");
    let server = launch.args(&["--admin-token", "flag"]).start();
    assert!(accepts(&server, "flag") && !accepts(&server, "environment"));
}

#[test]
fn trusted_proxies_come_from_flags_the_environment_or_the_file() {
    let file = "trust_proxy = [\"127.0.0.1/32\", \"127.0.0.2/32\"]\n";
    let servers = [
        Launch::new().args(&[
            "--trust-proxy",
            "127.0.0.1/32",
            "--trust-proxy",
            "127.0.0.2/32",
        ]),
        Launch::new().env("TOLLGATE_TRUST_PROXY", "127.0.0.1/32,127.0.0.2/32"),
        Launch::new().config("a.toml", file),
    ];
    for launch in servers {
        let server = launch.start();
        for (peer, client) in [
            ("127.0.0.1", "192.0.2.7"),
            ("127.0.0.2", "192.0.2.7"),
            ("127.0.0.3", "127.0.0.3"),
        ] {
            let headers = [("X-Forwarded-For", "192.0.2.7")];
            assert_eq!(
                server.client_from(peer).get_with("/", &headers).from(),
                client
            );
        }
    }
}

#[test]
fn the_client_address_header_follows_the_same_order() {
    let file = "trust_proxy = [\"127.0.0.1\"]\nclient_address_header = \"x-real-ip\"\n";
    let launch = || Launch::new().config("a.toml", file);
    let environment = |launch: Launch| launch.env("TOLLGATE_CLIENT_ADDRESS_HEADER", "Forwarded");
    let flags = ["--client-address-header", "CF-Connecting-IP"];
    for (launch, client) in [
        (launch(), "192.0.2.1"),
        (environment(launch()), "192.0.2.2"),
        (environment(launch()).args(&flags), "192.0.2.3"),
    ] {
        let headers = [
            ("X-Real-IP", "192.0.2.1"),
            ("Forwarded", "for=192.0.2.2"),
            ("CF-Connecting-IP", "192.0.2.3"),
        ];
        let server = launch.start();
        assert_eq!(server.client().get_with("/", &headers).from(), client);
    }
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let refusal = Launch::new().listen(Some(&address)).start_error().unwrap();
    assert!(
        refusal.code.is_some_and(|code| code != 0),
        "{:?}",
        refusal.code
    );
    assert!(refusal.stderr.contains(&address), "{}", refusal.stderr);
    assert!(
        refusal.stderr.to_lowercase().contains("in use"),
        "{}",
        refusal.stderr
    );
    assert!(!refusal.stderr.contains("panicked"), "{}", refusal.stderr);
}

#[test]
fn other_environment_variables_are_none_of_its_business() {
    let server = Launch::new()
        .env("CAPACITY", "3")
        .env("LISTEN", "nonsense")
        .start();
    let response: Response = server.get("/");
    assert_eq!(response.limit(), 10);
}
