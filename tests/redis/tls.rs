//! TLS: a server with a certificate of a private authority, trusted through `SSL_CERT_FILE`.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use test_support::redis::{RedisServer, free_port};
use tollgate::{DecisionSource, Quota, RedisLimiter};

/// URL of the server, for the subprocess of this test.
const URL: &str = "TOLLGATE_TEST_REDIS_TLS_URL";

fn openssl(directory: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let command = command
        .current_dir(directory)
        .args(arguments.split_whitespace())
        .stderr(Stdio::null());
    let status = command
        .status()
        .expect("openssl is missing: apt-get install openssl");
    assert!(status.success(), "openssl {arguments}");
}

/// Makes an authority and its certificate for 127.0.0.1.
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

/// Runs this test again in a subprocess that trusts the authority, or does not: environment
/// variables apply to a whole process. Returns whether it succeeded.
fn succeeds_in_subprocess(url: &str, trusts: &Path) -> bool {
    let mut subprocess = Command::new(env::current_exe().unwrap());
    subprocess
        .args([
            "--exact",
            "tls::connection_is_encrypted_and_the_server_verified",
        ])
        .env(URL, url)
        .env("SSL_CERT_FILE", trusts);
    subprocess
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

#[tokio::test]
async fn connection_is_encrypted_and_the_server_verified() {
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
    assert!(succeeds_in_subprocess(
        &url,
        &directory.path().join("ca.crt")
    ));
    assert_eq!(server.buckets().len(), 2, "one bucket per mode");

    let untrusted = certificates();
    assert!(
        !succeeds_in_subprocess(&url, &untrusted.path().join("ca.crt")),
        "a server of an untrusted authority is rejected"
    );
}
