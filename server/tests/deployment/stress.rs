//! `tollgate stress`: the exact transcript, and the report of a load.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use test_support::{SLOW, Server, TEST_TIMEOUT};

fn stress(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(test_support::server::binary());
    command
        .arg("stress")
        .args(["--url", url])
        .args(args)
        .stdin(Stdio::null());
    command
}

fn run(url: &str, args: &[&str]) -> Output {
    stress(url, args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn line(number: usize, allowed: bool) -> String {
    if allowed {
        format!("{number:02}: {{'from': '127.0.0.1', 'message': 'Access granted'}}\n")
    } else {
        format!("{number:02}: 429 - {{'error': 'Too Many Requests'}}\n")
    }
}

/// Expected output for `total` requests of which `allowed` selects the allowed ones.
fn transcript(total: usize, allowed: impl Fn(usize) -> bool) -> String {
    (1..=total)
        .map(|number| line(number, allowed(number)))
        .collect()
}

/// Output of a run with default flags; `None` if the run is so late that a fourth token may have
/// been refilled.
///
/// Sixteen small delays that add up to 0.2 s are enough. They are caused by the machine, not by the
/// tool.
fn default_run() -> Option<String> {
    let server = Server::start(&[]);
    let started = Instant::now();
    let mut child = stress(&server.url(), &[])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = String::new();
    for (number, line) in (1_u32..).zip(BufReader::new(child.stdout.take().unwrap()).lines()) {
        printed += &(line.unwrap() + "\n");
        if started.elapsed() >= PAUSE * number {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
    }
    assert!(child.wait().unwrap().success());
    assert!(
        started.elapsed() >= PAUSE * 19,
        "expected a pause after each response"
    );
    Some(printed)
}

const PAUSE: Duration = Duration::from_millis(200);

#[test]
fn against_a_fresh_default_server_01_to_12_and_16_are_allowed() {
    let expected = transcript(20, |number| number <= 12 || number == 16);
    let started = Instant::now();
    while started.elapsed() < 3 * TEST_TIMEOUT {
        if let Some(printed) = default_run() {
            assert_eq!(printed, expected);
            return;
        }
    }
    panic!("this machine is too slow for the test");
}

#[test]
fn flags_set_the_number_of_requests_and_the_pause() {
    let server = Server::with_capacity(3);
    let started = Instant::now();
    let output = run(&server.url(), &["--total", "5", "--interval", "0"]);
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(
        output.status.success(),
        "refused requests are no failure of the tool"
    );
    assert_eq!(text(&output.stdout), transcript(5, |number| number <= 3));

    let server = Server::with_capacity(200);
    let output = run(&server.url(), &["--total", "120", "--interval", "0"]);
    assert_eq!(
        text(&output.stdout),
        transcript(120, |_| true),
        "numbers from 100 on have three digits"
    );

    let started = Instant::now();
    let output = run(&server.url(), &["--total", "4", "--interval", "0.1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        started.elapsed() >= Duration::from_millis(300),
        "the interval is in seconds, with fractions"
    );
}

#[test]
fn a_missing_server_is_an_error_with_its_address() {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for args in [&[][..], &["--concurrency", "2", "--duration", "1s"]] {
        let output = run(&format!("http://{address}"), args);
        assert!(!output.status.success());
        let message = text(&output.stderr);
        assert!(message.contains(&address.to_string()), "{message}");
        assert!(!message.contains("panicked"), "{message}");
    }
}

#[test]
fn bad_flags_are_refused() {
    for args in [
        ["--total", "0"],
        ["--total", "many"],
        ["--interval", "soon"],
        ["--interval", "-1"],
        ["--concurrency", "0"],
        ["--duration", "soon"],
        ["--url", "nonsense"],
    ] {
        let mut command = Command::new(test_support::server::binary());
        let output = command.arg("stress").arg(args.join("=")).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let message = text(&output.stderr);
        assert!(
            message.contains(args[0].trim_start_matches('-')),
            "{args:?}: {message}"
        );
    }
}

#[test]
fn a_load_reports_rate_allowed_refused_and_percentiles() {
    let server = Server::start(&["--capacity", "50", "--refill-rate", SLOW]);
    let started = Instant::now();
    let output = run(&server.url(), &["--concurrency", "4", "--duration", "1s"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(started.elapsed() >= Duration::from_secs(1));
    let report = text(&output.stdout).to_lowercase();
    assert!(
        report.contains("requests/s") || report.contains("req/s"),
        "{report}"
    );
    let count = |word: &str| -> u64 {
        let line = report.lines().find(|line| line.contains(word));
        let line = line.unwrap_or_else(|| panic!("no {word} in {report}"));
        let (before, after) = line.split_once(word).unwrap();
        // The number may stand before or after the word.
        let after = after.trim_start_matches([':', ' ', '=']);
        let before = before
            .trim_end()
            .rsplit([' ', ','])
            .next()
            .unwrap_or_default();
        let digits =
            |text: &str| -> String { text.chars().take_while(char::is_ascii_digit).collect() };
        let found = [digits(after), digits(before)];
        let number = found.iter().find(|digits| !digits.is_empty());
        number
            .unwrap_or_else(|| panic!("no number for {word} in {line}"))
            .parse()
            .unwrap()
    };
    assert_eq!(count("allowed"), 50);
    assert!(count("refused") > 0);
    for percentile in ["50", "90", "99"] {
        assert!(report.contains(percentile), "{percentile} in {report}");
    }
}
