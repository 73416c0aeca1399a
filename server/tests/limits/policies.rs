//! The policies of docs/policies.md over real sockets, with counts that are exact: the examples are
//! read from the guide, and their quotas made so slow that nothing is refilled during a test.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use test_support::{Client, Launch, Response, Server, Upstream, eventually};

const GUIDE: &str = include_str!("../../../docs/policies.md");

/// Returns the example below the heading that begins with this text.
fn example(heading: &str) -> String {
    let (_, section) = GUIDE
        .split_once(&format!("### {heading}"))
        .unwrap_or_else(|| panic!("no section {heading}"));
    let (_, block) = section.split_once("```toml\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

/// Replaces the units of quotas by a year, so that nothing is refilled.
fn slow(example: &str) -> String {
    const UNITS: [&str; 9] = [
        "/10s",
        "/15min",
        "/12h",
        "r/s",
        "/s",
        "/minute",
        "/hour",
        "/week",
        " per minute",
    ];
    let slow = |line: &str| match line.starts_with("quota") {
        // A unit ends at a quote, a comma or a space.
        true => UNITS.iter().fold(line.to_owned(), |text, unit| {
            ["\"", ",", " "].iter().fold(text, |text, end| {
                text.replace(&format!("{unit}{end}"), &format!("/year{end}"))
            })
        }),
        false => line.to_owned(),
    };
    let lines: Vec<String> = example.lines().map(slow).collect();
    lines.join("\n")
}

fn server(heading: &str, more: &str) -> Server {
    let text = format!("headers = 'both'\n{more}{}", slow(&example(heading)));
    Launch::new().config("tollgate.toml", &text).start()
}

/// Returns how many of `count` equal requests are allowed.
fn allowed(count: usize, mut send: impl FnMut() -> Response) -> usize {
    let responses = (0..count).map(|_| send());
    let statuses = responses.map(|response| response.status);
    statuses.filter(|status| *status != 429).count()
}

fn get(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Response {
    client.get_with(path, headers)
}

#[test]
fn policy_1_burst_and_hour_of_each_key() {
    let server = server("1.", "");
    let mut client = server.client();
    let alice = [("X-API-Key", "alice")];
    assert_eq!(allowed(15, || get(&mut client, "/", &alice)), 10);
    assert_eq!(
        allowed(15, || get(&mut client, "/", &[("X-API-Key", "bob")])),
        10
    );
    assert_eq!(allowed(15, || get(&mut client, "/", &[])), 10, "by address");
    let refused = get(&mut client, "/", &alice);
    let fields = refused.header("ratelimit").unwrap().to_owned();
    // What the burst has refused has cost nothing of the hour.
    assert!(
        fields.starts_with("\"key\";r=0;") && fields.contains("\"key-2\";r=990;"),
        "{fields}"
    );
}

#[test]
fn policy_2_key_address_and_everything() {
    let server = server("2.", "");
    let mut client = server.client();
    let mut total = 0;
    for key in 0..6 {
        let key = format!("key-{key}");
        let keyed = [("X-API-Key", key.as_str())];
        total += allowed(12, || get(&mut client, "/", &keyed));
    }
    // Five keys with their whole burst, and then the address has nothing left.
    assert_eq!(total, 50);
    let mut other = server.client_from("127.0.0.2");
    assert_eq!(
        allowed(12, || get(&mut other, "/", &[("X-API-Key", "key-5")])),
        10
    );
    let fields = other.get("/").header("ratelimit").unwrap().to_owned();
    assert!(fields.contains("\"all\";r=4939;"), "{fields}");
}

#[test]
fn policy_3_writes_cost_more() {
    let server = server("3.", "");
    let mut client = server.client();
    let alice = [("X-API-Key", "alice")];
    let mut left = 1000;
    for (method, path, cost) in [
        ("GET", "/", 1),
        ("POST", "/search", 20),
        ("POST", "/other", 5),
        ("DELETE", "/other", 5),
        ("GET", "/search", 1),
    ] {
        left -= cost;
        let response = client.request(method, path, &alice, "");
        assert_eq!(response.remaining(), left, "{method} {path}");
    }
    assert_eq!(
        allowed(60, || client.request("POST", "/search", &alice, "")),
        48,
        "968 tokens are left"
    );
    assert_eq!(client.get("/").status, 401);
}

#[test]
fn policy_4_an_expensive_path() {
    let server = server("4.", "");
    let mut client = server.client();
    assert_eq!(allowed(12, || client.get("/reports/1")), 10);
    assert_eq!(allowed(110, || client.get("/")), 100);
    assert_eq!(client.get("/reports/1;x").status, 429);
}

#[test]
fn policy_5_a_tenant_in_the_path() {
    let server = server("5.", "");
    let mut client = server.client();
    assert_eq!(allowed(60, || client.get("/t/acme/a")), 60);
    assert_eq!(allowed(60, || client.get("/t/acme/b")), 40);
    assert_eq!(allowed(5, || client.get("//T/acme/c")), 0);
    assert_eq!(allowed(5, || client.get("/t/other")), 5);
    assert_eq!(allowed(5, || client.get("/t")), 5, "no tenant");
}

#[test]
fn policy_6_a_limit_that_is_tried_out() {
    let server = server("6.", "");
    let mut client = server.client();
    assert_eq!(allowed(25, || client.get("/")), 20);
    let total = |decision: &str| {
        server.metric(&format!(
            r#"tollgate_limit_decisions_total{{limit="next",mode="shadow",decision="{decision}",reason="{}"}}"#,
            if decision == "allowed" { "tokens" } else { "no_tokens" }
        ))
    };
    assert_eq!((total("allowed"), total("refused")), (5, 15));
}

#[test]
fn policy_7_lists_of_networks() {
    let server = server("7.", "trust_proxy = ['127.0.0.1']\n");
    let mut proxy = server.client();
    let mut from = |address: &str, count: usize| {
        allowed(count, || {
            get(&mut proxy, "/", &[("X-Forwarded-For", address)])
        })
    };
    assert_eq!(from("10.1.2.3", 30), 30);
    assert_eq!(from("192.0.2.7", 30), 20);
    let denied = get(&mut proxy, "/", &[("X-Forwarded-For", "203.0.113.7")]);
    assert_eq!(denied.status, 403);
}

#[test]
fn four_windows_with_a_whitelist() {
    let server = server("Four windows", "trust_proxy = ['127.0.0.1']\n");
    let mut proxy = server.client();
    let mut from = |path: &str, address: &str| {
        allowed(5, || get(&mut proxy, path, &[("X-Forwarded-For", address)]))
    };
    assert_eq!(from("/", "192.0.2.7"), 2, "the smallest window");
    assert_eq!(from("/api/license", "192.0.2.7"), 5);
    assert_eq!(from("/", "192.168.0.9"), 5);
}

#[test]
fn one_limit_of_a_path_for_all_callers() {
    let server = server("A limit of a path", "");
    let mut one = server.client();
    let mut other = server.client_from("127.0.0.2");
    assert_eq!(allowed(6, || one.get("/productpage")), 6);
    assert_eq!(allowed(6, || other.get("/productpage")), 4);
    assert_eq!(allowed(6, || other.get("/")), 6);
}

#[test]
fn by_user_if_there_is_one_else_by_address() {
    let server = server("By user", "");
    let mut client = server.client();
    assert_eq!(
        allowed(65, || get(
            &mut client,
            "/",
            &[("Cookie", "a=b; session=x")]
        )),
        60
    );
    assert_eq!(
        allowed(65, || get(
            &mut client,
            "/",
            &[("Authorization", "Bearer t")]
        )),
        60
    );
    assert_eq!(allowed(65, || get(&mut client, "/", &[])), 60);
    assert_eq!(
        get(&mut client, "/", &[("Authorization", "bearer  t")]).status,
        429
    );
}

#[test]
fn consumers_and_services() {
    let server = server("Consumers", "");
    let mut client = server.client();
    let alice = [("apikey", "alice")];
    assert_eq!(allowed(7, || get(&mut client, "/billing/a", &alice)), 5);
    // Seven of the twelve are left, and the ten of orders do not matter.
    assert_eq!(allowed(12, || get(&mut client, "/orders/a", &alice)), 7);
    assert_eq!(allowed(3, || get(&mut client, "/other", &alice)), 0);
    assert_eq!(
        allowed(12, || get(&mut client, "/orders/a", &[("apikey", "bob")])),
        10
    );
}

#[test]
fn two_zones_with_burst() {
    let server = server("Two zones", "");
    let mut one = server.client();
    let mut other = server.client_from("127.0.0.2");
    assert_eq!(allowed(8, || one.get("/")), 6);
    assert_eq!(allowed(8, || other.get("/")), 5, "eleven of all together");
}

#[test]
fn average_period_and_burst_behind_a_proxy() {
    let server = server("Average", "");
    let mut proxy = server.client();
    let mut from =
        |header: &str| allowed(6, || get(&mut proxy, "/", &[("X-Forwarded-For", header)]));
    assert_eq!(from("192.0.2.7"), 4);
    assert_eq!(
        from("198.51.100.1, 192.0.2.7"),
        0,
        "a client cannot choose its address"
    );
    assert_eq!(from("192.0.2.8"), 4);
}

#[test]
fn by_header_and_path() {
    let server = server("By header", "");
    let mut client = server.client();
    let device = |id: &'static str| [("X-Device", id)];
    let mut post =
        |path: &str, id: &'static str| allowed(5, || client.request("POST", path, &device(id), ""));
    assert_eq!(post("/graphql", "a"), 3);
    assert_eq!(post("/graphql", "b"), 3);
    assert_eq!(post("/other", "a"), 5);
    assert_eq!(client.get("/graphql").status, 404, "only POST has a key");
}

/// Holds the responses to `/slow` back until the test opens it.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let is_open = self.0.0.lock().unwrap();
        let timeout = Duration::from_secs(20);
        let waited = self
            .0
            .1
            .wait_timeout_while(is_open, timeout, |is_open| !*is_open);
        drop(waited.unwrap());
    }
}

#[test]
fn connections_of_one_client() {
    let gate = Gate::default();
    let upstream = {
        let gate = gate.clone();
        Upstream::start(move |connection| {
            loop {
                if connection
                    .request()?
                    .request_line()
                    .starts_with("GET /slow")
                {
                    gate.wait();
                }
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            }
        })
    };
    let text = example("Connections").replace("http://127.0.0.1:9000", &upstream.url());
    let server = Launch::new().config("tollgate.toml", &text).start();
    let mut held = [(); 2].map(|()| {
        let mut client = server.client();
        let request = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(request.as_bytes()).unwrap();
        client
    });
    eventually("both requests are at the upstream", || {
        upstream.requests().len() == 2
    });
    let mut third = server.client();
    let refused = third.get("/");
    assert_eq!((refused.status, refused.number("Retry-After")), (429, 1));
    assert_eq!(server.client_from("127.0.0.2").get("/").status, 200);
    gate.open();
    for client in &mut held {
        assert_eq!(client.read().unwrap().status, 200);
    }
    eventually("the slots are free", || third.get("/").status == 200);
}
