//! Files of nginx.

use super::*;

fn convert_nginx(text: &str) -> String {
    converted(Product::Nginx, "nginx.conf", text)
}

#[test]
fn zones_with_bursts() {
    let text = convert_nginx(
        "
events {}
http {
    limit_req_zone $binary_remote_addr zone=perip:10m rate=1r/s;
    limit_req_zone $server_name zone=perserver:10m rate=600r/m;
    limit_req_status 429;
    server {
        limit_req zone=perip burst=5 nodelay;
        limit_req zone=perserver burst=10 nodelay;
    }
}",
    );
    assert_eq!(
        keys(&text),
        "\
[[limits]]
name = \"perip\"
key = \"ip\"
quota = \"1/second, capacity 6\"
[[limits]]
name = \"perserver\"
key = \"global\"
quota = \"600/minute, capacity 11\"
"
    );
    assert_eq!(gaps(&text), [""; 0]);
}

#[test]
fn exempt_networks_of_a_geo_and_a_map() {
    let text = convert_nginx(
        r#"
geo $limited { default 1; 10.0.0.0/8 0; 192.168.0.0/24 0; 2001:db8::1 0; }
map $limited $limited_key { 0 ""; 1 $binary_remote_addr; }
limit_req_zone $limited_key zone=req:20m rate=5r/s;
server {
    location / { limit_req zone=req burst=10 nodelay; proxy_pass http://app; }
}"#,
    );
    assert_eq!(
        keys(&text),
        r#"allow = ["10.0.0.0/8", "192.168.0.0/24", "2001:db8::1/128"]
[refusal]
status = 503
[[limits]]
name = "req"
key = "ip"
quota = "5/second, capacity 11"
max_clients = 163840
"#
    );
    assert_eq!(gaps(&text), [""; 0]);
}

#[test]
fn an_inner_level_replaces_the_outer_one() {
    let text = convert_nginx(
        r"
http {
    limit_req_zone $binary_remote_addr zone=site:10m rate=20r/s;
    limit_req_zone $binary_remote_addr zone=login:10m rate=10r/m;
    limit_req_status 429;
    server {
        limit_req zone=site burst=40 nodelay;
        location / { proxy_pass http://app; }
        location = /login { limit_req zone=login burst=2 nodelay; limit_req_status 503; }
        location /admin/ { limit_req zone=site burst=40 nodelay; limit_req zone=login burst=2 nodelay; limit_req_status 503; }
        location /static/ { limit_req zone=assets burst=500 nodelay; location /static/api/ { limit_req zone=site burst=40 nodelay; } }
    }
    limit_req_zone $binary_remote_addr zone=assets:1m rate=100r/s;
}",
    );
    assert_eq!(
        keys(&text),
        r#"[[limits]]
name = "site"
key = "ip"
quota = "20/second, capacity 41"
cost = { "/login" = 0, "/admin/*" = 0, "/static/*" = 0, "/static/api/*" = 1 }
[[limits]]
name = "site.2"
match = "/admin/*"
key = "ip"
quota = "20/second, capacity 41"
refusal = { status = 503 }
[[limits]]
name = "login"
match = ["/login", "/admin/*"]
key = "ip"
quota = "10/minute, capacity 3"
refusal = { status = 503 }
[[limits]]
name = "assets"
match = "/static/*"
key = "ip"
quota = "100/second, capacity 501"
cost = { "/static/api/*" = 0 }
"#
    );
    assert!(gaps(&text)[0].starts_with("line 3: the places of zone site have different bursts"));
    assert_eq!(gaps(&text).len(), 1);
}

#[test]
fn locations_are_patterns() {
    let text = convert_nginx(
        r#"
limit_req_zone $binary_remote_addr zone=php:10m rate=2r/s;
limit_req_status 429;
server {
    location / { }
    location ~ \.php$ { limit_req zone=php burst=4 nodelay; }
    location ^~ /search { limit_req zone=php burst=4 nodelay; }
    location ~* ^/(login|register)$ { limit_req zone=php burst=4 nodelay; }
    location ~ "/[a-z]{2}/x" { limit_req zone=php burst=4 nodelay; }
    location ~ ^/(?<free>.+)/y { }
    location @app { limit_req zone=php; }
}"#,
    );
    assert_eq!(
        keys(&text),
        r#"[[limits]]
name = "php"
match = ["*.php", "/search*/*", "/login", "/register"]
key = "ip"
quota = "2/second, capacity 5"
"#
    );
    let starts = [
        "line 9: location ~ /[a-z]{2}/x: ",
        "line 11: location @app: ",
    ];
    assert_eq!(gaps(&text).len(), starts.len(), "{text}");
    for (gap, start) in gaps(&text).iter().zip(starts) {
        assert!(gap.starts_with(start), "{text}");
    }
}

#[test]
fn patterns_with_more_paths_exempt_none() {
    let text = convert_nginx(
        r"
limit_req_zone $binary_remote_addr zone=site:10m rate=2r/s;
limit_req_zone $binary_remote_addr zone=user:10m rate=1r/s;
limit_req_status 429;
server {
    limit_req zone=site burst=1 nodelay;
    location ~ ^/users/\d+$ { limit_req zone=user burst=1 nodelay; }
}",
    );
    assert!(!text.contains("cost"), "{text}");
    assert!(text.contains("match = \"/users/{id}\""), "{text}");
    assert!(
        gaps(&text)[0].starts_with("line 7: location ~ ^/users/\\d+$: /users/{id} has more paths"),
        "{text}"
    );
}

#[test]
fn a_suffix_within_a_prefix() {
    let text = convert_nginx(
        r"
limit_req_zone $binary_remote_addr zone=site:10m rate=2r/s;
limit_req_zone $binary_remote_addr zone=php:10m rate=1r/s;
limit_req_status 429;
server {
    limit_req zone=site burst=1 nodelay;
    location /app/ { location ~ \.php$ { limit_req zone=php burst=1 nodelay; } }
}",
    );
    assert!(text.contains("cost = { \"/app/**/*.php\" = 0 }"), "{text}");
    assert!(text.contains("match = \"/app/**/*.php\""), "{text}");
}

#[test]
fn requests_that_wait() {
    let text = convert_nginx(
        "
limit_req_zone $binary_remote_addr zone=one:10m rate=10r/s;
limit_req_status 429;
server { limit_req zone=one burst=20; }",
    );
    assert_eq!(
        keys(&text),
        r#"max_delayed_per_client = 20
[[limits]]
name = "one"
key = "ip"
quota = "10/second, capacity 1"
delay = "2000ms"
"#
    );
    assert_eq!(gaps(&text), [""; 0]);
    let two_stages = convert_nginx(
        "
limit_req_zone $binary_remote_addr zone=one:10m rate=3r/s;
limit_req_status 429;
server { location /api/ { limit_req zone=one burst=12 delay=8; } }",
    );
    let expected = "quota = \"3/second, capacity 9\"\ndelay = \"1334ms\"\n";
    assert!(two_stages.contains(expected), "{two_stages}");
    let long = convert_nginx(
        "
limit_req_zone $binary_remote_addr zone=one:10m rate=1r/m;
limit_req_status 429;
server { limit_req zone=one burst=5; }",
    );
    assert!(
        long.contains("quota = \"1/minute, capacity 6\"\n"),
        "{long}"
    );
    assert!(
        gaps(&long)[0].contains("requests wait for up to 300 s there"),
        "{long}"
    );
}

#[test]
fn keys_of_headers_cookies_and_several_variables() {
    let key = |key: &str| {
        let text = convert_nginx(&format!(
            "limit_req_zone {key} zone=a:1m rate=5r/s; limit_req_status 429; server {{ limit_req zone=a nodelay; }}"
        ));
        let own = keys(&text);
        let own: Vec<&str> = own
            .lines()
            .filter(|line| line.starts_with("key") || line.starts_with("missing"))
            .collect();
        (own.join("; "), gaps(&text).len())
    };
    for (given, expected, gaps) in [
        (
            "$http_x_api_key",
            r#"key = "header:X-Api-Key"; missing = "skip""#,
            0,
        ),
        (
            "${cookie_session}",
            r#"key = "cookie:session"; missing = "skip""#,
            0,
        ),
        ("$arg_token", r#"key = "query:token"; missing = "skip""#, 0),
        ("$uri", r#"key = "path""#, 0),
        ("site", r#"key = "global""#, 0),
        ("$server_name", r#"key = "global""#, 0),
        ("$binary_remote_addr$uri", r#"key = ["ip", "path"]"#, 0),
        (
            "$binary_remote_addr:$http_x_device",
            r#"key = ["ip", "header:X-Device | global"]"#,
            0,
        ),
        ("$binary_remote_addr$host", r#"key = "ip""#, 1),
        ("$http_x_forwarded_for", r#"key = "ip""#, 1),
    ] {
        assert_eq!(key(given), (expected.to_owned(), gaps), "{given}");
    }
}

#[test]
fn keys_of_maps() {
    let convert = |map: &str| {
        convert_nginx(&format!(
            "{map} limit_req_zone $key zone=a:1m rate=5r/s; limit_req_status 429; server {{ limit_req zone=a nodelay; }}"
        ))
    };
    for (map, expected) in [
        (
            r#"map $http_x_api_key $key { default $http_x_api_key; "" $binary_remote_addr; }"#,
            "key = \"header:X-Api-Key | ip\"\n",
        ),
        (
            r#"map $request_method $key { default ""; POST $binary_remote_addr; PUT $binary_remote_addr; }"#,
            "match = \"POST,PUT *\"\nkey = \"ip\"\n",
        ),
        (
            r#"map $uri $key { default $binary_remote_addr; /health ""; ~^/static/ ""; }"#,
            "cost = { \"/health\" = 0, \"/static/*\" = 0 }\n",
        ),
        (
            r#"map $remote_addr $key { default $binary_remote_addr; 192.0.2.7 ""; }"#,
            "allow = [\"192.0.2.7/32\"]\n",
        ),
        (
            r#"geo $a { 10.0.0.0/8 in; } map $a $b { in 0; default 1; } map $b $key { 0 ""; 1 $binary_remote_addr; }"#,
            "allow = [\"10.0.0.0/8\"]\n",
        ),
    ] {
        let text = convert(map);
        assert!(text.contains(expected), "{map}: {text}");
        assert_eq!(gaps(&text), [""; 0], "{map}");
    }
    for map in [
        r#"map $http_user_agent $key { default ""; ~*bot $binary_remote_addr; }"#,
        r#"geo $key { default ""; 10.0.0.0/8 1; }"#,
        "map $a $b { default $key; } map $b $key { default $b; }",
        "map $unknown $key { default $unknown; }",
        r#"map $http_x_api_key $key { default $binary_remote_addr; "a secret" ""; }"#,
    ] {
        let text = convert(map);
        assert!(
            !gaps(&text).is_empty() && !text.contains("a secret"),
            "{map}: {text}"
        );
    }
}

#[test]
fn connections_shadow_limits_and_proxies() {
    let text = convert_nginx(
        r"
set_real_ip_from 10.0.0.0/8;
set_real_ip_from unix:;
real_ip_header X-Forwarded-For;
limit_conn_zone $binary_remote_addr zone=conn:10m;
limit_req_zone $binary_remote_addr zone=next:10m rate=1r/s;
limit_conn_status 429;
limit_req_status 429;
limit_req_log_level warn;
include mime.types;
include conf.d/*.conf;
server {
    limit_conn conn 10;
    limit_rate 50k;
    location /api/ { limit_req zone=next; limit_req_dry_run on; }
    location /free/ { limit_conn conn 100; limit_conn_dry_run on; }
}",
    );
    assert_eq!(
        keys(&text),
        r#"trust_proxy = ["10.0.0.0/8"]
client_address_header = "x-forwarded-for"
upstream = "http://127.0.0.1:9000"
[[limits]]
name = "conn"
key = "ip"
concurrency = 10
cost = { "/free/*" = 0 }
[[limits]]
name = "next"
match = "/api/*"
key = "ip"
quota = "1/second"
shadow = true
"#
    );
    let gaps = gaps(&text);
    for place in [
        "line 3: set_real_ip_from unix:",
        "line 9: limit_req_log_level",
        "line 11: include",
        "line 14: limit_rate 50k",
    ] {
        assert!(
            gaps.iter().any(|gap| gap.starts_with(place)),
            "{place}: {gaps:?}"
        );
    }
    assert!(
        gaps.iter().any(|gap| gap.contains("limit_conn_dry_run")),
        "{gaps:?}"
    );
}

#[test]
fn servers_are_not_distinguished() {
    let text = convert_nginx(
        "
limit_req_zone $binary_remote_addr zone=a:10m rate=1r/s;
limit_req_zone $binary_remote_addr zone=b:10m rate=2r/s;
limit_req_status 429;
server { listen 80; return 301 https://$host$request_uri; }
server { server_name a.example; limit_req zone=a nodelay; location /free/ { limit_req zone=b nodelay; } }
server { server_name b.example; limit_req zone=a nodelay; }",
    );
    // The other server limits these paths.
    assert!(!text.contains("cost"), "{text}");
    assert!(gaps(&text)[0].starts_with("line 6: server a.example: limits do not look at the host"));
    assert_eq!(gaps(&text).len(), 2, "{text}");
}

#[test]
fn invalid_files_are_refused() {
    for (text, error) in [
        (
            "server {",
            "line 1: server: expected } at its end, got the end of the file",
        ),
        (
            "limit_req_zone $a zone=b:1m rate=0r/s;",
            "line 1: limit_req_zone: expected rate=Nr/s or rate=Nr/m, got 0r/s",
        ),
        (
            "\nlimit_req_zone $a zone=b:1m;",
            "line 2: limit_req_zone: expected rate=Nr/s or rate=Nr/m, got none",
        ),
        (
            "limit_req_zone;",
            "line 1: limit_req_zone: expected zone=NAME:SIZE, got none",
        ),
        (
            "limit_req burst=2;",
            "line 1: limit_req: expected zone=NAME, got none",
        ),
        (
            "server { limit_req zone=a burst=-1; }",
            "line 1: limit_req: expected a whole number, got -1",
        ),
        (
            "limit_conn a;",
            "line 1: limit_conn: expected a zone and a number, got a",
        ),
        (
            "limit_req_status 200;",
            "line 1: limit_req_status: expected a status from 400 to 599, got 200",
        ),
        (
            "server { listen 80; }",
            "expected rate limits, got a file without them",
        ),
    ] {
        let result = convert(Product::Nginx, Path::new("nginx.conf"), text);
        assert_eq!(result.unwrap_err(), error);
    }
}

#[test]
fn absurd_numbers_are_left_out() {
    let text = convert_nginx(
        "
limit_req_zone $a$b zone=a:99999999999999999999g rate=18446744073709551615r/s;
limit_req_zone $binary_remote_addr zone=b:1m rate=5r/s;
limit_conn_zone $binary_remote_addr zone=c:1m;
server { limit_req zone=a; limit_req zone=b burst=18446744073709551615; limit_conn c 0; limit_req zone=d; }",
    );
    assert_eq!(keys(&text).matches("[[limits]]").count(), 0, "{text}");
    for gap in [
        "zone d: ",
        "line 3: ",
        "line 4: zone c (c): left out",
        "limits: no limit is left",
    ] {
        assert!(
            gaps(&text).iter().any(|given| given.starts_with(gap)),
            "{gap}: {text}"
        );
    }
}

#[test]
fn more_limits_than_apply_to_one_request_are_left_out() {
    let mut text = String::new();
    for number in 0..12 {
        text += &format!("limit_req_zone $binary_remote_addr zone=z{number}:1m rate=5r/s;\n");
    }
    let all: String = (0..12)
        .map(|number| format!("limit_req zone=z{number} nodelay;"))
        .collect();
    let converted = convert_nginx(&format!("{text}\nserver {{ {all} }}"));
    assert_eq!(keys(&converted).matches("[[limits]]").count(), 8);
    assert_eq!(gaps(&converted).len(), 4, "{converted}");
    // Of locations that end within a segment, the patterns become narrower instead.
    let each: String = (0..12)
        .map(|number| format!("location /z{number} {{ limit_req zone=z{number} nodelay; }}"))
        .collect();
    let converted = convert_nginx(&format!("{text}\nserver {{ {each} }}"));
    assert_eq!(
        keys(&converted).matches("match = \"/z").count(),
        12,
        "{converted}"
    );
}

#[test]
fn limits_of_named_locations_are_gaps() {
    let text = convert_nginx(
        "
limit_req_zone $binary_remote_addr zone=site:10m rate=20r/s;
server {
    location / { limit_req zone=site; try_files $uri @app; }
    location @app { limit_req zone=site burst=9; proxy_pass http://app; }
    location @plain { proxy_pass http://app; }
}",
    );
    assert!(!text.contains("capacity 10"), "{text}");
    let gaps = gaps(&text);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(
        gaps[0].starts_with("line 5: location @app: its requests have the paths of other"),
        "{gaps:?}"
    );
}

#[test]
fn sizes_of_zones_that_no_table_has_are_gaps() {
    let of = |size: &str| {
        let text = convert_nginx(&format!(
            "limit_req_zone $binary_remote_addr zone=site:{size} rate=20r/s;
             server {{ limit_req zone=site; }}"
        ));
        let clients = text.lines().find(|line| line.starts_with("max_clients"));
        (clients.map(str::to_owned), gaps(&text).len())
    };
    assert_eq!(of("10m"), (None, 0));
    assert_eq!(of("16m"), (Some("max_clients = 131072".to_owned()), 0));
    assert_eq!(of("200g"), (None, 1));
    assert_eq!(of("many"), (None, 1));
}
