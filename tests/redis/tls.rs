//! TLS: a server with a certificate of a private authority, which the program trusts as the machine
//! says it should.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use test_support::redis::{RedisServer, free_port};
use tollgate::{DecisionSource, Quota, RedisLimiter};

/// Tells the second run of this test where the server is.
const URL: &str = "TOLLGATE_TEST_REDIS_TLS_URL";

fn openssl(directory: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let command = command
        .current_dir(directory)
        .args(arguments.split_whitespace())
        .stderr(Stdio::null());
    let ended = command
        .status()
        .expect("this test makes certificates: apt-get install openssl");
    assert!(ended.success(), "openssl {arguments}");
}

/// An authority, and a certificate of it for 127.0.0.1.
fn certificates() -> TempDir {
    let directory = TempDir::new().unwrap();
    let new = "req -x509 -newkey rsa:2048 -nodes -days 2";
    openssl(
        directory.path(),
        &format!("{new} -keyout ca.key -out ca.crt -subj /CN=authority"),
    );
    let name = "-subj /CN=server -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    openssl(
        directory.path(),
        &format!("{new} -CA ca.crt -CAkey ca.key -keyout server.key -out server.crt {name}"),
    );
    directory
}

/// The environment belongs to the process, so the test runs itself in one that trusts the
/// authority, or does not.
fn runs_again(url: &str, trusts: &Path) -> bool {
    let mut again = Command::new(env::current_exe().unwrap());
    again
        .args(["--exact", "a_connection_is_encrypted_and_its_server_known"])
        .env(URL, url)
        .env("SSL_CERT_FILE", trusts);
    again
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

#[tokio::test]
async fn a_connection_is_encrypted_and_its_server_known() {
    if let Ok(url) = env::var(URL) {
        let builder =
            RedisLimiter::builder(&url, Quota::per_day(10)).timeout(Duration::from_secs(10));
        let limiter = builder.connect().await.unwrap();
        assert_eq!(
            limiter.try_acquire("key", 1).await.source(),
            DecisionSource::Redis
        );
        let builder =
            RedisLimiter::builder(&url, Quota::per_day(1000)).timeout(Duration::from_secs(10));
        let leasing = builder.prefix("leased").lease(0.1).connect().await.unwrap();
        assert_eq!(
            leasing.try_acquire("key", 1).await.source(),
            DecisionSource::Lease
        );
        leasing.close().await;
        return;
    }
    let directory = certificates();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let port = free_port();
    let server = RedisServer::with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &path("server.crt"),
        "--tls-key-file",
        &path("server.key"),
        "--tls-ca-cert-file",
        &path("ca.crt"),
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://127.0.0.1:{port}/");
    assert!(runs_again(&url, &directory.path().join("ca.crt")));
    assert_eq!(server.buckets().len(), 2, "one of each mode");

    let others = certificates();
    assert!(
        !runs_again(&url, &others.path().join("ca.crt")),
        "a server of an authority that is not trusted"
    );
}
