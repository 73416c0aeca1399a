//! `tollgate convert`: output, exit codes, and the check of the output.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;
use test_support::server::binary;

const NGINX: &str = "
limit_req_zone $binary_remote_addr zone=site:10m rate=10r/s;
limit_conn_zone $binary_remote_addr zone=open:10m;
server {
    limit_req zone=site burst=20 nodelay;
    limit_conn open 10;
    limit_rate 1m;
}
";

fn tollgate(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn write(directory: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Returns the one line of a failed conversion, after the path of the file.
fn error(product: &str, file: &str) -> String {
    let output = tollgate(&["convert", product, file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let line = text(&output.stderr);
    assert_eq!(line.lines().count(), 1, "{line}");
    let start = format!("tollgate convert: {file}: ");
    line.strip_prefix(&start).unwrap().trim_end().to_owned()
}

#[test]
fn the_output_is_a_configuration_and_names_its_gaps() {
    let directory = TempDir::new().unwrap();
    let file = write(&directory, "nginx.conf", NGINX);
    let output = tollgate(&["convert", "nginx", &file]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output.stderr),
        format!(
            "tollgate convert: {file}: 2 limits, 1 part not converted: see the comments of the output\n"
        )
    );
    assert!(text(&output.stdout).contains("# not converted: line 7: limit_rate 1m: "));
    let converted = write(&directory, "tollgate.toml", &output.stdout);
    let check = tollgate(&["check", &converted]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
    assert!(text(&check.stdout).ends_with("valid, with 2 limits, 0 routes, 0 rules\n"));
}

/// Addresses and the server at the same time, as nginx's manual has them.
const TWO_ZONES: &str = "
limit_req_zone $binary_remote_addr zone=perip:10m rate=1r/s;
limit_req_zone $server_name zone=perserver:10m rate=10r/s;
server {
    location /downloads/ {
        limit_req zone=perip burst=5 nodelay;
        limit_req zone=perserver burst=10;
    }
}
";

/// A router with a limit by header.
const BY_HEADER: &str = "
http:
  routers:
    api: { rule: PathPrefix(`/api/`), middlewares: [users], service: api }
  middlewares:
    users: { rateLimit: { average: 100, period: 1m, burst: 50, sourceCriterion: { requestHeaderName: X-User } } }
";

/// Windows of clients, one of them of an endpoint.
const WINDOWS: &str = r#"{ "ClientRateLimiting": {
    "EnableEndpointRateLimiting": true, "ClientIdHeader": "X-ClientId",
    "EndpointWhitelist": [ "get:/api/license" ],
    "GeneralRules": [
        { "Endpoint": "*", "Period": "1s", "Limit": 2 },
        { "Endpoint": "get:/api/clients", "Period": "12h", "Limit": 100 }
    ] } }"#;

#[test]
fn converted_limits_are_explained() {
    let directory = TempDir::new().unwrap();
    let explain = |product: &str, file: &str, text: &str, arguments: &[&str]| {
        let file = write(&directory, file, text);
        let converted = tollgate(&["convert", product, &file]).stdout;
        let config = write(&directory, "tollgate.toml", converted);
        let check = tollgate(&["check", &config]);
        assert_eq!(
            check.status.code(),
            Some(0),
            "{}",
            self::text(&check.stderr)
        );
        let arguments = [&["explain", "--config", &config], arguments].concat();
        let output = tollgate(&arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            self::text(&output.stderr)
        );
        self::text(&output.stdout)
    };
    let nginx = |path| explain("nginx", "nginx.conf", TWO_ZONES, &["GET", path]);
    assert_eq!(
        nginx("/downloads/a"),
        "\
GET /downloads/a from 127.0.0.1
limit      quota                  key        cost  effect
perip      1/second, capacity 6   127.0.0.1  1     applies
perserver  10/second, capacity 1  global     1     applies
"
    );
    assert_eq!(
        nginx("/other"),
        "\
GET /other from 127.0.0.1
limit      quota                  key  cost  effect
perip      1/second, capacity 6              no: matches /downloads/* only
perserver  10/second, capacity 1             no: matches /downloads/* only
"
    );
    let traefik = |header| {
        let arguments = ["POST", "/api/orders", "-H", header];
        explain("traefik", "dynamic.yaml", BY_HEADER, &arguments)
    };
    assert_eq!(
        traefik("X-User: alice"),
        "\
POST /api/orders from 127.0.0.1
limit  quota                    key    cost  effect
users  100/minute, capacity 50  alice  1     applies
"
    );
    assert_eq!(
        traefik("X-Other: a"),
        "\
POST /api/orders from 127.0.0.1
limit  quota                    key     cost  effect
users  100/minute, capacity 50  global  1     applies
"
    );
    let windows = |path| {
        let arguments = ["GET", path, "-H", "X-ClientId: a"];
        explain("aspnetcore", "appsettings.json", WINDOWS, &arguments)
    };
    assert_eq!(
        windows("/api/clients"),
        "\
GET /api/clients from 127.0.0.1
limit            quota     key                 cost  effect
general          2/second  a and /api/clients  1     applies
get-api-clients  100/12h   a                   1     applies
"
    );
    assert_eq!(
        windows("/api/license"),
        "\
GET /api/license from 127.0.0.1
limit            quota     key  cost  effect
general          2/second             no: the request costs nothing
get-api-clients  100/12h              no: matches GET /api/clients only
"
    );
}

#[test]
fn files_that_cannot_be_converted() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("missing");
    assert!(error("nginx", missing.to_str().unwrap()).starts_with("No such file"));
    assert!(error("nginx", directory.path().to_str().unwrap()).contains("directory"));
    let cut = write(&directory, "cut.conf", "http {\n server {\n");
    assert_eq!(
        error("nginx", &cut),
        "line 2: server: expected } at its end, got the end of the file"
    );
    let bytes = write(&directory, "bytes.yaml", b"http:\n\xff");
    assert_eq!(
        error("traefik", &bytes),
        "line 2: expected UTF-8, got other bytes"
    );
    let long = write(&directory, "long.json", " ".repeat((1 << 20) + 1));
    assert_eq!(
        error("aspnetcore", &long),
        "expected at most 1048576 bytes, got more"
    );
    if Path::new("/dev/zero").exists() {
        assert_eq!(
            error("traefik", "/dev/zero"),
            "expected at most 1048576 bytes, got more"
        );
    }
}

#[test]
fn wrong_arguments_are_named() {
    let other = tollgate(&["convert", "apache", "httpd.conf"]);
    assert_eq!(other.status.code(), Some(2));
    assert_eq!(
        text(&other.stderr),
        "tollgate: <PRODUCT>: expected nginx, traefik or aspnetcore, got \"apache\"\n"
    );
    let none = tollgate(&["convert"]);
    assert_eq!(none.status.code(), Some(2));
    assert_eq!(
        text(&none.stderr),
        "tollgate: the following required arguments were not provided: <PRODUCT> <FILE>\n"
    );
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let directory = TempDir::new().unwrap();
    let file = write(&directory, "nginx.conf", NGINX);
    let mut child = Command::new(binary())
        .args(["convert", "nginx", &file])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}
