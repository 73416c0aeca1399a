//! `tollgate health`: what a container's health check runs.

use std::net::TcpListener;
use std::process::{Command, Output};

use test_support::{Server, Upstream};

fn health(args: &[&str]) -> Output {
    Command::new(test_support::server::binary())
        .arg("health")
        .args(args)
        .output()
        .unwrap()
}

/// The one line that says why not.
fn ill(args: &[&str]) -> String {
    let output = health(args);
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(1), 0),
        "{output:?}"
    );
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(
        line.starts_with("tollgate health: ") && line.lines().count() == 1,
        "{line}"
    );
    line
}

#[test]
fn a_server_that_runs_is_well_also_when_its_clients_are_refused() {
    let server = Server::with_capacity(1);
    assert_eq!([server.get("/").status, server.get("/").status], [200, 429]);
    let output = health(&["--url", &format!("{}/health", server.url())]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains(r#""status": "ok""#)
    );
}

#[test]
fn the_environment_of_a_container_does_not_disturb_it() {
    let server = Server::start(&[]);
    let mut command = Command::new(test_support::server::binary());
    command.arg("health").envs([
        ("TOLLGATE_LISTEN", "0.0.0.0:8000"),
        ("TOLLGATE_CAPACITY", "100"),
    ]);
    command.env("TOLLGATE_HEALTH_URL", format!("{}/health", server.url()));
    assert!(command.output().unwrap().status.success());
}

#[test]
fn nobody_there_and_another_status_are_ill() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert!(ill(&["--url", &format!("http://{address}/health")]).contains(&address.to_string()));
    let server = Server::with_capacity(1);
    assert!(ill(&["--url", &format!("{}/nowhere", server.url())]).contains("404"));
}

#[test]
fn a_server_that_does_not_answer_is_ill_after_the_timeout() {
    let silent =
        Upstream::start(|connection| connection.head().and_then(|_| connection.head()).map(drop));
    let line = ill(&["--url", &silent.url(), "--timeout", "100ms"]);
    assert!(line.contains("no response in 100ms"), "{line}");
}
