//! `load/k6.js` with the real k6: passes when the limits hold, and fails when they do not.

use std::process::{Command, Stdio};

use test_support::{Server, Upstream, programs::installed_program};

/// Exit code of k6 for a crossed threshold.
const THRESHOLD: Option<i32> = Some(99);

/// Runs the script and returns its exit code and output.
fn k6(url: &str) -> (Option<i32>, String) {
    let mut command = Command::new(installed_program("k6/bin/k6"));
    // By default k6 listens on a port and sends usage reports.
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

/// Asserts that the script fails with exactly these crossed thresholds.
fn assert_crossed(url: &str, thresholds: &[&str]) {
    let (code, printed) = k6(url);
    assert_eq!(code, THRESHOLD, "{printed}");
    // The last line names them: thresholds on metrics 'refused, tokens_spent' have been crossed.
    let crossed = printed.split("thresholds on metrics '").nth(1).unwrap();
    let mut crossed: Vec<_> = crossed.split('\'').next().unwrap().split(", ").collect();
    crossed.sort_unstable();
    assert_eq!(crossed, thresholds);
}

#[test]
fn passes_when_limits_hold() {
    let server = Server::start(&[]);
    let (code, printed) = k6(&server.url());
    assert_eq!(code, Some(0), "{printed}");
}

#[test]
fn fails_when_nothing_is_refused() {
    let server = Server::start(&["--capacity", "4294967295"]);
    assert_crossed(&server.url(), &["refused", "tokens_spent"]);
}

#[test]
fn fails_when_more_is_allowed_than_the_headers_state() {
    let server = Server::start(&["--capacity", "40", "--refill-rate", "1"]);
    assert_crossed(&server.url(), &["tokens_spent"]);
}

#[test]
fn fails_when_headers_are_missing() {
    let refusal = "HTTP/1.1 429 Too Many Requests\r\nX-RateLimit-Limit: 10\r\nX-RateLimit-Remaining: 0\r\n\
                   X-RateLimit-Reset: 10\r\nContent-Length: 0\r\n\r\n";
    let without_retry_after = Upstream::responding(refusal);
    assert_crossed(&without_retry_after.url(), &["allowed", "headers_missing"]);
}

#[test]
fn fails_on_unexpected_responses() {
    let broken =
        Upstream::responding("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    assert_crossed(
        &broken.url(),
        &[
            "allowed",
            "headers_missing",
            "refused",
            "unexpected_answers",
        ],
    );
}
