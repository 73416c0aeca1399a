//! Log lines of an outage.

use std::{
    env,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use test_support::redis::{RedisServer, eventually};
use tollgate::{DecisionSource, Quota, RedisLimiter};
use tracing_subscriber::fmt::MakeWriter;

/// Refills too slowly to matter.
const QUOTA: Quota = Quota::per_day(100);

/// Longer than the default: the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Writer that keeps the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

/// Set in the subprocess of this test.
const SUBPROCESS: &str = "TOLLGATE_TEST_REDIS_LOG";

/// Runs in a subprocess: tracing caches process-wide which log lines have a subscriber, and a
/// concurrent test without a subscriber would turn them off.
#[tokio::test]
async fn outage_is_two_lines_in_the_log() {
    if env::var_os(SUBPROCESS).is_none() {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "log::outage_is_two_lines_in_the_log"])
            .env(SUBPROCESS, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
        return;
    }
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let mut server = RedisServer::start();
    let limiter = RedisLimiter::builder(&server.url(), QUOTA)
        .timeout(TIMEOUT)
        .connect()
        .await
        .unwrap();
    let source = async || limiter.try_acquire("key", 1).await.source();
    assert_eq!(source().await, DecisionSource::Redis);
    server.kill();
    assert_eq!(source().await, DecisionSource::Local);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(source().await, DecisionSource::Local);
    server.restart();
    eventually("Redis decides", async || {
        source().await == DecisionSource::Redis
    })
    .await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("tollgate"))
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].contains("WARN")
            && lines[0].contains("Redis unavailable; fallback decides")
            && lines[0].contains("error=Redis is unreachable"),
        "{text}"
    );
    assert!(
        lines[1].contains("INFO") && lines[1].contains("Redis available again"),
        "{text}"
    );
}
