//! nginx and a server with the converted configuration: the same requests are refused.

use std::process::Command;

use tempfile::TempDir;
use test_support::{Client, Launch, nginx::Nginx};

/// Replenished too slowly to matter.
const ZONES: &str = r#"
limit_req_status 429;
limit_req_zone $key zone=site:1m rate=1r/m;
limit_req_zone $key zone=login:1m rate=1r/m;
limit_req_zone $binary_remote_addr$uri zone=uri:1m rate=1r/m;
limit_req_zone $http_x_api_key zone=api:1m rate=1r/m;
limit_req_zone $post zone=post:1m rate=1r/m;
map $request_method $post { default ""; POST $binary_remote_addr; }
map $http_x_api_key $key { default $http_x_api_key; "" $binary_remote_addr; }
"#;

const SERVERS: [&str; 3] = [
    r"
limit_req zone=site burst=4 nodelay;
location / { try_files /none /end; }
location = /login { limit_req zone=login burst=1 nodelay; try_files /none /end; }
location /static/ { limit_req zone=login burst=1 nodelay; try_files /none /end; }
location /static/api/ { limit_req zone=site burst=4 nodelay; try_files /none /end; }
location ~ \.php$ { limit_req zone=uri burst=2 nodelay; try_files /none /end; }
location ^~ /free { limit_req zone=site burst=4 nodelay; try_files /none /end; }
",
    r"
location / { limit_req zone=api burst=2 nodelay; limit_req zone=uri burst=3 nodelay; try_files /none /end; }
location /post { limit_req zone=post burst=1 nodelay; try_files /none /end; }
location ~ ^/(a|b)/[^/]+$ { limit_req zone=login burst=1 nodelay; try_files /none /end; }
location /none/ { limit_req zone=site burst=20 nodelay; try_files /none /end; }
",
    r"
limit_req zone=site burst=2 nodelay;
location / { try_files /none /end; }
location /a {
    limit_req zone=login burst=1 nodelay;
    location ~ \.php$ { limit_req zone=site burst=2 nodelay; try_files /none /end; }
    try_files /none /end;
}
location /static { limit_req zone=api burst=1 nodelay; try_files /none /end; }
location /st { limit_req zone=post burst=2 nodelay; try_files /none /end; }
location ~ ^/static/api { limit_req zone=uri burst=1 nodelay; try_files /none /end; }
",
];

const PATHS: [&str; 22] = [
    "/",
    "/a",
    "/a/12",
    "/a/x",
    "/a/x.php",
    "/b/7",
    "/login",
    "/logins",
    "/static/x",
    "/static/api/y",
    "/static/api/y.php",
    "/static/z.php",
    "/statics",
    "/stand",
    "/x.php",
    "/q/w.php",
    "/free/x.php",
    "/freedom",
    "/post",
    "/poster",
    "/post/x",
    "/none/x",
];

/// Prints a configuration of nginx as one of the server.
fn converted(text: &str) -> String {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("nginx.conf");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(test_support::server::binary());
    let output = command
        .args(["convert", "nginx"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the next number below a bound of a fixed sequence.
fn next(state: &mut u64, bound: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state % bound as u64).unwrap()
}

#[test]
fn a_converted_configuration_refuses_what_nginx_refuses() {
    for (server, mut state) in SERVERS.into_iter().zip(1..) {
        let text = format!(
            "{ZONES}\nserver {{ listen 127.0.0.1:8080; set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;
location = /end {{ internal; return 200; }}\n{server} }}"
        );
        let nginx = Nginx::start(&text);
        let config = converted(&text);
        let tollgate = Launch::new().config("tollgate.toml", &config).start();
        let (mut refused, count) = (0, 300);
        for number in 0..count {
            let method = ["GET", "GET", "POST"][next(&mut state, 3)];
            let path = PATHS[next(&mut state, PATHS.len())];
            // New clients, since those before have no tokens left.
            let address = format!("192.0.{}.{}", next(&mut state, 2), number / 50);
            let api_key = format!("key-{}", number / 50);
            let mut headers = vec![("X-Forwarded-For", address.as_str())];
            if next(&mut state, 5) < 2 {
                headers.push(("X-Api-Key", &api_key));
            }
            let mut of_nginx = Client::connect(nginx.address, None);
            let expected = of_nginx.request(method, path, &headers, "").status == 429;
            let given = tollgate.client().request(method, path, &headers, "").status == 429;
            let request = format!("{number}: {method} {path} {headers:?}\n{config}");
            assert_eq!(given, expected, "{request}");
            refused += usize::from(expected);
        }
        assert!(
            (count / 10..count * 9 / 10).contains(&refused),
            "{refused} of {count}\n{config}"
        );
    }
}
