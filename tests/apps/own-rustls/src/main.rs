//! Application with its own rustls provider and a limiter without TLS.

use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};
use tollgate::{DecisionSource, Quota, RedisLimiter};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // No server listens on this port.
    let limiter = RedisLimiter::connect("redis://127.0.0.1:1/", Quota::per_second(10))
        .await
        .expect("an absent server is no error");
    let decision = limiter.try_acquire("key", 1).await;
    assert_eq!(decision.source(), DecisionSource::Local);

    assert!(
        CryptoProvider::get_default().is_none(),
        "the limiter installed a process-wide provider"
    );
    // Panics if the build enables two providers.
    ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();

    let error = RedisLimiter::check_url("rediss://:secret@127.0.0.1/").unwrap_err();
    assert_eq!(
        error.to_string(),
        "url: expected redis://… (TLS needs the feature `redis-tls`), got rediss://…"
    );
}
