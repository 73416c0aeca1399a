//! Several servers: a cluster, and a failover by Sentinel.

use std::{fs, time::Duration};

use test_support::redis::{RedisServer, eventually, free_port};
use tollgate::{DecisionSource, Quota, RedisLimiter};

const QUOTA: Quota = Quota::per_day(10);
const TIMEOUT: Duration = Duration::from_secs(1);

/// Cluster of three primaries.
pub(crate) async fn cluster() -> [RedisServer; 3] {
    let nodes = [(); 3].map(|()| {
        let bus = free_port().to_string();
        RedisServer::with(&[
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus,
            "--cluster-node-timeout",
            "2000",
        ])
    });
    for (node, slots) in nodes
        .iter()
        .zip([["0", "5460"], ["5461", "10922"], ["10923", "16383"]])
    {
        node.command::<()>(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]);
    }
    for node in &nodes[1..] {
        let bus: Vec<String> = node.command(&["CONFIG", "GET", "cluster-port"]);
        nodes[0].command::<()>(&[
            "CLUSTER",
            "MEET",
            "127.0.0.1",
            &node.port.to_string(),
            &bus[1],
        ]);
    }
    for node in &nodes {
        let complete = || async {
            let info: String = node.command(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        eventually("the cluster is complete", complete).await;
    }
    nodes
}

pub(crate) fn url_of(nodes: &[RedisServer; 3]) -> String {
    format!(
        "redis+cluster://127.0.0.1:{},127.0.0.1:{}",
        nodes[0].port, nodes[1].port
    )
}

/// Limiter in lease mode. Its timeout is long: a busy machine is no outage.
pub(crate) async fn leasing(url: &str, quota: Quota) -> RedisLimiter {
    RedisLimiter::builder(url, quota)
        .timeout(10 * TIMEOUT)
        .lease(0.1)
        .connect()
        .await
        .unwrap()
}

#[tokio::test]
async fn cluster_keeps_each_key_on_one_server() {
    let mut nodes = cluster().await;
    let url = url_of(&nodes);
    let limiter = RedisLimiter::builder(&url, QUOTA)
        .timeout(TIMEOUT)
        .connect()
        .await
        .unwrap();
    for key in 0..100_u32 {
        let key = format!("user {key}");
        assert!(limiter.try_acquire(&key, 10).await.is_allowed(), "{key}");
        let refused = limiter.try_acquire(&key, 1).await;
        assert_eq!(
            (refused.source(), refused.remaining()),
            (DecisionSource::Redis, 0),
            "{key}"
        );
    }
    for node in &nodes {
        assert!(!node.buckets().is_empty(), "every server has buckets");
        node.command::<()>(&["SCRIPT", "FLUSH"]);
    }
    for key in 0..20_u32 {
        assert!(
            limiter
                .try_acquire(&format!("user {key}"), 1)
                .await
                .is_refused()
        );
    }
    let another = RedisLimiter::builder(&url, QUOTA)
        .timeout(TIMEOUT)
        .connect()
        .await
        .unwrap();
    another.replace(Quota::per_day(20)).await.unwrap();
    eventually("the quota", async || limiter.quota() == Quota::per_day(20)).await;
    assert_eq!(limiter.stats().failures, 0);

    nodes[2].kill();
    let falls_back = async || {
        let mut sources = Vec::new();
        for key in 0..20_u32 {
            sources.push(
                limiter
                    .try_acquire(&format!("user {key}"), 0)
                    .await
                    .source(),
            );
        }
        sources.contains(&DecisionSource::Local)
    };
    eventually("a key of the killed server falls back", falls_back).await;
}

#[tokio::test]
async fn cluster_leases_each_token_once() {
    let nodes = cluster().await;
    let url = url_of(&nodes);
    let quota = Quota::per_day(100);
    let limiters = [leasing(&url, quota).await, leasing(&url, quota).await];
    let keys: Vec<String> = (0..30_u32).map(|key| format!("user {key}")).collect();
    for key in &keys {
        for n in 0..60 {
            let decision = limiters[n % 2].try_acquire(key, 1).await;
            assert!(
                decision.is_allowed()
                    && matches!(
                        decision.source(),
                        DecisionSource::Redis | DecisionSource::Lease
                    ),
                "{decision:?}"
            );
        }
    }
    assert!(
        nodes.iter().all(|node| !node.buckets().is_empty()),
        "every server has buckets"
    );
    for limiter in limiters {
        let stats = limiter.stats();
        assert!(
            stats.lease > 0 && stats.fallback == 0 && stats.failures == 0,
            "{stats:?}"
        );
        limiter.close().await;
    }
    let newcomer = leasing(&url, quota).await;
    for key in &keys {
        assert_eq!(
            newcomer.available(key).await,
            40,
            "{key}: unspent tokens were returned"
        );
        let mut allowed = 0;
        for _ in 0..50 {
            allowed += u32::from(newcomer.try_acquire(key, 1).await.is_allowed());
        }
        assert_eq!(allowed, 40, "{key}");
    }
}

/// A primary, its replica, the sentinel that monitors them, and the URL for limiters.
pub(crate) async fn monitored() -> (RedisServer, RedisServer, RedisServer, String) {
    let primary = RedisServer::start();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let linked = || async {
        replica
            .command::<String>(&["INFO", "replication"])
            .contains("master_link_status:up")
    };
    eventually("the replica is in sync", linked).await;
    let directory = tempfile::TempDir::new().unwrap();
    let config = directory.path().join("sentinel.conf");
    let lines = format!(
        "sentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
        primary.port
    );
    fs::write(&config, lines).unwrap();
    let sentinel = RedisServer::sentinel(&config);
    let knows_both = || async {
        let replicas: Vec<redis::Value> = sentinel.command(&["SENTINEL", "REPLICAS", "main"]);
        replicas.len() == 1
    };
    eventually("sentinel knows the replica", knows_both).await;
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
    (primary, replica, sentinel, url)
}

#[tokio::test]
async fn limiter_follows_a_sentinel_failover() {
    let (mut primary, replica, _sentinel, url) = monitored().await;
    let limiter = RedisLimiter::builder(&url, QUOTA)
        .timeout(TIMEOUT)
        .connect()
        .await
        .unwrap();
    let decision = limiter.try_acquire("key", 4).await;
    assert_eq!(
        (decision.source(), decision.remaining()),
        (DecisionSource::Redis, 6)
    );
    let copied = || async { !replica.buckets().is_empty() };
    eventually("the replica has the bucket", copied).await;
    primary.kill();
    assert_eq!(
        limiter.try_acquire("key", 1).await.source(),
        DecisionSource::Local
    );
    eventually("the replica is promoted", async || {
        limiter.try_acquire("key", 0).await.source() == DecisionSource::Redis
    })
    .await;
    assert_eq!(limiter.available("key").await, 6);
}

#[tokio::test]
async fn leases_follow_a_sentinel_failover() {
    let (mut primary, replica, _sentinel, url) = monitored().await;
    let limiter = leasing(&url, Quota::per_day(1000)).await;
    for _ in 0..400 {
        let decision = limiter.try_acquire("key", 1).await;
        assert_eq!(
            (decision.source(), decision.is_allowed()),
            (DecisionSource::Lease, true)
        );
    }
    let held = |server: &RedisServer| {
        let buckets = server.buckets();
        buckets
            .iter()
            .map(|bucket| server.command(&["GET", bucket]))
            .collect::<Vec<Vec<u8>>>()
    };
    eventually("the replica has the bucket", async || {
        held(&replica) == held(&primary)
    })
    .await;
    primary.kill();
    eventually("the lease ends, and the fallback decides", async || {
        source(&limiter).await == DecisionSource::Local
    })
    .await;
    eventually("the new primary grants leases", async || {
        source(&limiter).await == DecisionSource::Lease
    })
    .await;
    assert!(
        (1..600).contains(&limiter.available("key").await),
        "{limiter:?}"
    );
}

async fn source(limiter: &RedisLimiter) -> DecisionSource {
    limiter.try_acquire("key", 1).await.source()
}
