//! `load/k6.js` with the real k6: it passes where limits hold, and fails where they do not.

use std::process::{Command, Stdio};

use test_support::{Server, Upstream, parts::part};

/// k6's own code for a threshold that was crossed.
const THRESHOLD: Option<i32> = Some(99);

/// Runs the script; the code it ends with, and all that it prints.
fn k6(url: &str) -> (Option<i32>, String) {
    let mut command = Command::new(part("k6/bin/k6"));
    // It would listen on a port of its own, and report home.
    command.args([
        "run",
        "--address",
        "",
        "--no-usage-report",
        "--no-color",
        "--quiet",
    ]);
    command.args(["-e", &format!("URL={url}"), "-e", "SECONDS=4"]);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../load/k6.js"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap())
}

/// The script must fail, for these thresholds and no other.
fn fails(url: &str, thresholds: &[&str]) {
    let (code, printed) = k6(url);
    assert_eq!(code, THRESHOLD, "{printed}");
    // It ends with a line that names them: thresholds on metrics 'refused, tokens_spent' have been
    // crossed.
    let crossed = printed.split("thresholds on metrics '").nth(1).unwrap();
    let mut crossed: Vec<_> = crossed.split('\'').next().unwrap().split(", ").collect();
    crossed.sort_unstable();
    assert_eq!(crossed, thresholds);
}

#[test]
fn it_passes_where_limits_hold() {
    let server = Server::start(&[]);
    let (code, printed) = k6(&server.url());
    assert_eq!(code, Some(0), "{printed}");
}

#[test]
fn it_fails_where_nothing_is_refused() {
    let server = Server::start(&["--capacity", "4294967295"]);
    fails(&server.url(), &["refused", "tokens_spent"]);
}

#[test]
fn it_fails_where_more_is_allowed_than_said() {
    let server = Server::start(&["--capacity", "40", "--refill-rate", "1"]);
    fails(&server.url(), &["tokens_spent"]);
}

#[test]
fn it_fails_where_headers_are_missing() {
    let refusal = "HTTP/1.1 429 Too Many Requests\r\nX-RateLimit-Limit: 10\r\nX-RateLimit-Remaining: 0\r\n\
                   X-RateLimit-Reset: 10\r\nContent-Length: 0\r\n\r\n";
    let without_retry_after = Upstream::answering(refusal);
    fails(&without_retry_after.url(), &["allowed", "headers_missing"]);
}

#[test]
fn it_fails_where_answers_are_none_of_ours() {
    let broken =
        Upstream::answering("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    fails(
        &broken.url(),
        &[
            "allowed",
            "headers_missing",
            "refused",
            "unexpected_answers",
        ],
    );
}
