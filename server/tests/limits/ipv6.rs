//! IPv6 clients are identified by network, IPv4 clients by address, also when IPv4-mapped.

use test_support::{ADMIN_TOKEN, AS_ADMIN, Launch, SLOW, Server};

/// Starts a server that trusts 127.0.0.1.
fn behind_a_proxy() -> Server {
    Server::start(&[
        "--trust-proxy",
        "127.0.0.1/32",
        "--admin-token",
        ADMIN_TOKEN,
        "--capacity",
        "1000",
        "--refill-rate",
        SLOW,
    ])
}

/// Returns the remaining tokens of a client behind the trusted proxy.
fn remaining(server: &Server, address: &str) -> u64 {
    server
        .client()
        .get_with("/", &[("X-Forwarded-For", address)])
        .remaining()
}

#[test]
fn ipv6_client_is_a_64_bit_network() {
    let server = behind_a_proxy();
    assert_eq!(remaining(&server, "2001:db8:0:1::1"), 999);
    assert_eq!(remaining(&server, "2001:db8:0:1::2"), 998);
    assert_eq!(remaining(&server, "2001:db8:0:1:ffff:ffff:ffff:ffff"), 997);
    assert_eq!(
        remaining(&server, "2001:DB8::1:0:0:0:9"),
        996,
        "another spelling"
    );
    assert_eq!(
        remaining(&server, "2001:db8:0:2::1"),
        999,
        "the next network"
    );
    assert_eq!(remaining(&server, "2001:db8:0:0:8000::1"), 999);
    assert_eq!(remaining(&server, "192.0.2.1"), 999);
    assert_eq!(
        remaining(&server, "192.0.2.2"),
        999,
        "IPv4 addresses are not masked"
    );
}

#[test]
fn ipv6_prefix_length_is_configurable() {
    let launch = |prefix: u8| {
        let text = format!("ipv6_prefix = {prefix}\ncapacity = 1000\nrefill_rate = 0.001\n");
        Launch::new()
            .config("a.toml", &text)
            .args(&["--trust-proxy", "127.0.0.1/32"])
            .start()
    };
    let server = launch(48);
    assert_eq!(remaining(&server, "2001:db8:1:1::1"), 999);
    assert_eq!(remaining(&server, "2001:db8:1:2::1"), 998);
    assert_eq!(remaining(&server, "2001:db8:2:1::1"), 999);
    let server = launch(128);
    assert_eq!(remaining(&server, "2001:db8:1:1::1"), 999);
    assert_eq!(remaining(&server, "2001:db8:1:1::2"), 999);
}

#[test]
fn addresses_that_embed_an_ipv4_address_are_the_ipv4_client() {
    let server = behind_a_proxy();
    let embeddings = [
        "64:ff9b::192.0.2.1",
        "::ffff:0:192.0.2.1",
        "2002:c000:201::1",
        "2002:c000:201:ffff::2",
        "2001:0:4136:e378:8000:63bf:3fff:fdfe",
    ];
    for (count, address) in embeddings.into_iter().enumerate() {
        assert_eq!(remaining(&server, address), 999 - count as u64, "{address}");
    }
    assert_eq!(remaining(&server, "192.0.2.1"), 994);
    assert_eq!(remaining(&server, "64:ff9b::192.0.2.2"), 999);
    assert_eq!(remaining(&server, "64:ff9b:1::192.0.2.3"), 999);
    assert_eq!(
        remaining(&server, "64:ff9b:1::192.0.2.4"),
        999,
        "a local NAT64"
    );
}

#[test]
fn clients_of_an_own_nat64_are_the_ipv4_client() {
    let file = format!(
        "trust_proxy = ['127.0.0.1']\ncapacity = 1000\nrefill_rate = {SLOW}\nadmin_token = '{ADMIN_TOKEN}'\n\
         nat64_prefixes = ['2001:db8:122:344::/96', '64:ff9b:1::/48']\n\
         [[rules]]\nclient_id = '2001:db8:122:344::192.0.2.9'\nquota = '5 per day'\n"
    );
    let server = Launch::new().config("tollgate.toml", &file).start();
    for (count, address) in [
        "2001:db8:122:344::192.0.2.1",
        "64:ff9b:1:c000:2:100::",
        "64:ff9b::192.0.2.1",
        "192.0.2.1",
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(remaining(&server, address), 999 - count as u64, "{address}");
    }
    assert_eq!(remaining(&server, "2001:db8:122:344::192.0.2.2"), 999);
    assert_eq!(remaining(&server, "2001:db8:122:345::192.0.2.2"), 999);
    assert_eq!(remaining(&server, "192.0.2.9"), 4, "the rule's client");
}

#[test]
fn ipv4_mapped_address_is_the_ipv4_client() {
    let server = behind_a_proxy();
    assert_eq!(remaining(&server, "::ffff:192.0.2.1"), 999);
    assert_eq!(
        remaining(&server, "::ffff:192.0.2.2"),
        999,
        "IPv4 clients do not share one bucket"
    );
    assert_eq!(remaining(&server, "192.0.2.1"), 998);
}

#[test]
fn dual_stack_socket_identifies_ipv4_clients() {
    let launch = Launch::new()
        .listen(Some("[::]:0"))
        .args(&["--refill-rate", SLOW]);
    let admin = ["--admin-token", ADMIN_TOKEN];
    let launch = launch.args(&["--trust-proxy", "127.0.0.4/32"]).args(&admin);
    let mut server = launch.start();
    server.address = ([127, 0, 0, 1], server.address.port()).into();
    for client in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        let response = server.client_from(client).get("/");
        assert_eq!(
            (response.from().as_str(), response.remaining()),
            (client, 9)
        );
    }
    let config = |server: &Server| server.client().get_with("/config", &AS_ADMIN).status;
    assert_eq!(config(&server), 200);
    let forwarded = [("X-Forwarded-For", "203.0.113.1")];
    assert_eq!(
        server
            .client_from("127.0.0.4")
            .get_with("/", &forwarded)
            .from(),
        "203.0.113.1"
    );
    server.address = (std::net::Ipv6Addr::LOCALHOST, server.address.port()).into();
    assert_eq!(server.get("/").from(), "::1");
    assert_eq!(config(&server), 200);
}

#[test]
fn rule_for_an_ipv6_client_applies_to_its_network() {
    let server = behind_a_proxy();
    let rule = r#"{"client_id": "2001:db8:0:1::5", "capacity": 50, "refill_rate": 0.001}"#;
    let set = server
        .client()
        .request("POST", "/admin/update-rule", &AS_ADMIN, rule);
    assert_eq!(set.status, 200);
    assert_eq!(remaining(&server, "2001:db8:0:1::5"), 49);
    assert_eq!(remaining(&server, "2001:db8:0:1::6"), 48);
    assert_eq!(remaining(&server, "2001:db8:0:2::5"), 999);
    let path = "/admin/rule/2001:db8:0:1::5";
    let taken_back = server.client().request("DELETE", path, &AS_ADMIN, "");
    assert_eq!(taken_back.status, 200);
    assert!(remaining(&server, "2001:db8:0:1::5") > 50);
}

#[test]
fn server_listens_on_ipv6_loopback_and_trusts_it() {
    let args = ["--refill-rate", SLOW, "--trust-proxy", "::1/128"];
    let launch = Launch::new().listen(Some("[::1]:0")).args(&args);
    let server = launch.args(&["--admin-token", ADMIN_TOKEN]).start();
    let mut client = server.client();
    assert_eq!(client.get("/").from(), "::1");
    let changed = client.request("POST", "/config", &AS_ADMIN, r#"{"capacity": 20}"#);
    assert_eq!(changed.status, 200);
    assert_eq!(client.get("/").limit(), 20);
    let forwarded = [("X-Forwarded-For", "203.0.113.1")];
    assert_eq!(client.get_with("/", &forwarded).from(), "203.0.113.1");
}
