//! Runs every example on a free port and checks its responses.
//!
//! `cargo test` builds the examples when it runs all tests; to run this file alone, build them with
//! `cargo build -p tollgate-examples --examples` first.

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::channel,
    thread,
};

use test_support::{Client, TEST_TIMEOUT};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// Command that runs an example which cargo built beside this test.
fn example(name: &str) -> Command {
    let test = env::current_exe().unwrap();
    let target: PathBuf = test.parent().and_then(|deps| deps.parent()).unwrap().into();
    let path = target.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is not built: cargo build -p tollgate-examples --examples",
        path.display()
    );
    Command::new(path)
}

/// Running example; killed on drop.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    fn start(name: &str) -> Running {
        let mut child = example(name)
            .arg("127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        // Created first, so that Drop kills the example even when it prints no address.
        let mut running = Running {
            child,
            address: ([127, 0, 0, 1], 0).into(),
        };
        let (lines, printed) = channel();
        thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .for_each(|line| drop(lines.send(line)))
        });
        let line = printed
            .recv_timeout(TEST_TIMEOUT)
            .unwrap_or_else(|_| panic!("{name}: expected a line with its address"));
        running.address = line
            .strip_prefix("Listening on http://")
            .unwrap_or_else(|| panic!("{line}"))
            .parse()
            .unwrap();
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Statuses of `count` GET requests on one connection.
fn statuses(client: &mut Client, path: &str, count: usize) -> Vec<u16> {
    (0..count).map(|_| client.get(path).status).collect()
}

#[test]
fn axum() {
    let running = Running::start("axum");
    let mut client = Client::connect(running.address, None);
    let first = client.get("/");
    assert_eq!(
        (first.status, first.text(), first.limit(), first.remaining()),
        (200, "hello, 9 left\n".to_owned(), 10, 9)
    );
    assert_eq!(client.post("/upload", "{}").remaining(), 6);
    assert_eq!(
        statuses(&mut client, "/", 8),
        [200, 200, 200, 200, 200, 200, 429, 429]
    );
    assert!((1..=61).contains(&client.get("/").number("Retry-After")));
    assert_eq!(statuses(&mut client, "/health", 3), [200, 200, 200]);
    assert_eq!(
        Client::connect(running.address, Some([127, 0, 0, 2].into()))
            .get("/")
            .status,
        200
    );
}

#[test]
fn actix() {
    let running = Running::start("actix");
    let mut client = Client::connect(running.address, None);
    assert_eq!(
        statuses(&mut client, "/", 12),
        [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 429, 429]
    );
    let refused = client.get("/");
    assert!((1..=61).contains(&refused.number("Retry-After")));
    assert_eq!(
        (
            refused.limit(),
            refused.remaining(),
            &refused.json()["error"]
        ),
        (10, 0, &"Too Many Requests".into())
    );
    let other = Client::connect(running.address, Some([127, 0, 0, 2].into())).get("/");
    assert_eq!(
        (other.status, other.remaining(), other.text().as_str()),
        (200, 9, "hello\n")
    );
}

#[tokio::test]
async fn tonic() {
    let running = Running::start("tonic");
    let channel = Channel::from_shared(format!("http://{}", running.address))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = HealthClient::new(channel);
    let request = || HealthCheckRequest {
        service: String::new(),
    };
    for remaining in (0..10).rev() {
        let response = client.check(request()).await.unwrap();
        assert_eq!(
            response.metadata().get("x-ratelimit-remaining").unwrap(),
            remaining.to_string().as_str()
        );
    }
    for _ in 0..3 {
        let refused = client.check(request()).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(
            refused
                .message()
                .starts_with("Rate limit exceeded: retry in "),
            "{}",
            refused.message()
        );
        let wait: u64 = refused
            .metadata()
            .get("retry-after")
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((1..=61).contains(&wait));
    }
}

#[test]
fn embedded() {
    let output = example("embedded").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = |with: &str| text.lines().filter(|line| line.contains(with)).count();
    assert_eq!(
        (
            lines(": done"),
            lines(": deferred, refused: cost 1"),
            lines("quiet 3: done")
        ),
        (8, 3, 1),
        "{text}"
    );
    assert!(text.ends_with("3 jobs were deferred\n"), "{text}");
}
