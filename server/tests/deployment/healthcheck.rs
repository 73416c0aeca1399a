//! `tollgate health`, the health check of containers.

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

/// Asserts that the check fails and returns its one-line error.
fn health_error(args: &[&str]) -> String {
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
fn a_server_is_healthy_even_if_clients_are_refused() {
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
fn server_variables_in_the_environment_do_not_affect_the_check() {
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
fn a_failed_connection_and_another_status_are_unhealthy() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert!(
        health_error(&["--url", &format!("http://{address}/health")])
            .contains(&address.to_string())
    );
    let server = Server::with_capacity(1);
    assert!(health_error(&["--url", &format!("{}/nowhere", server.url())]).contains("404"));
}

#[test]
fn a_server_without_a_response_is_unhealthy_after_the_timeout() {
    let silent =
        Upstream::start(|connection| connection.head().and_then(|_| connection.head()).map(drop));
    let line = health_error(&["--url", &silent.url(), "--timeout", "100ms"]);
    assert!(line.contains("no response in 100ms"), "{line}");
}
