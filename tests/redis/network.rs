//! A slow or interrupted network: a proxy between the limiter and the server.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use test_support::redis::{RedisServer, TEST_TIMEOUT, eventually};
use tollgate::{DecisionSource, Quota, RedisLimiter};

const TIMEOUT: Duration = Duration::from_millis(500);

/// TCP proxy that can delay the server's replies and cut connections.
struct Proxy {
    port: u16,
    delay_ms: Arc<AtomicU64>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    cut: Arc<Mutex<bool>>,
}

impl Proxy {
    fn to(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Proxy {
            port,
            delay_ms: Arc::default(),
            streams: Arc::default(),
            cut: Arc::default(),
        };
        let (delay, streams, cut) = (
            Arc::clone(&proxy.delay_ms),
            Arc::clone(&proxy.streams),
            Arc::clone(&proxy.cut),
        );
        // Runs until the process exits.
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (
                    client.unwrap(),
                    TcpStream::connect(("127.0.0.1", server)).unwrap(),
                );
                let cut = cut.lock().unwrap();
                if !*cut {
                    streams
                        .lock()
                        .unwrap()
                        .extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                    thread::spawn(move || forward(from, to, &AtomicU64::new(0)));
                    let delay = Arc::clone(&delay);
                    thread::spawn(move || forward(server, client, &delay));
                }
            }
        });
        proxy
    }

    fn delay(&self, time: Duration) {
        self.delay_ms
            .store(time.as_millis() as u64, Ordering::SeqCst);
    }

    /// Closes all connections, and while `true`, new ones at once.
    fn cut(&self, cut: bool) {
        *self.cut.lock().unwrap() = cut;
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, delay_ms: &AtomicU64) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        thread::sleep(Duration::from_millis(delay_ms.load(Ordering::SeqCst)));
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

async fn limiter(proxy: &Proxy) -> RedisLimiter {
    let url = format!("redis://127.0.0.1:{}/", proxy.port);
    RedisLimiter::builder(&url, Quota::per_day(1_000_000))
        .timeout(TIMEOUT)
        .connect()
        .await
        .unwrap()
}

async fn source(limiter: &RedisLimiter) -> DecisionSource {
    limiter.try_acquire("key", 1).await.source()
}

async fn falls_back(limiter: &RedisLimiter) {
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(source(limiter).await, DecisionSource::Local);
    }
    assert!(began.elapsed() < TEST_TIMEOUT, "{:?}", began.elapsed());
}

#[tokio::test]
async fn late_replies_are_one_outage() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port);
    let limiter = limiter(&proxy).await;
    assert_eq!(source(&limiter).await, DecisionSource::Redis);
    proxy.delay(3 * TIMEOUT);
    falls_back(&limiter).await;
    tokio::time::sleep(4 * TIMEOUT).await;
    falls_back(&limiter).await;
    assert_eq!(limiter.stats().outages, 1);
    proxy.delay(Duration::ZERO);
    eventually("Redis decides", async || {
        source(&limiter).await == DecisionSource::Redis
    })
    .await;
}

#[tokio::test]
async fn interrupted_network_is_an_outage_while_it_lasts() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port);
    let limiter = limiter(&proxy).await;
    for outage in 1..=3 {
        assert_eq!(source(&limiter).await, DecisionSource::Redis);
        proxy.cut(true);
        falls_back(&limiter).await;
        assert_eq!(limiter.stats().outages, outage);
        proxy.cut(false);
        eventually("Redis decides", async || {
            source(&limiter).await == DecisionSource::Redis
        })
        .await;
    }
}
