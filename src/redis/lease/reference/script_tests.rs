//! Comparison of `lease.lua` on a real server with [`LeasedBucket`], step by step.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{
    leased_bucket::{Lease, LeasedBucket},
    random::Random,
};
use crate::{
    quota::Quota,
    redis::{
        lease::protocol::{LeaseRequest, Limits, tick_at_micros},
        script::LEASE,
        script_quota::ScriptQuota,
    },
    state::{Layout, State},
};

const START: u64 = 50_000_000_000_000;
const TOLERANCE: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    max_leased: 40,
    lifetime_micros: 500_000,
};

/// Server process of this test, killed on drop.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Server {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
            &port.to_string(),
        ]);
        let child = command
            .stdout(Stdio::null())
            .spawn()
            .expect("apt-get install redis-server");
        Server { child, port }
    }

    async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port)).unwrap();
        for _ in 0..500 {
            if let Ok(connection) = client.get_multiplexed_async_connection().await {
                return connection;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("redis-server does not respond");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One key on the server and in the reference.
struct Comparison {
    connection: redis::aio::MultiplexedConnection,
    key: String,
    layout: Layout,
    packed: Vec<u8>,
    reference: LeasedBucket,
    now: u64,
    /// Incarnation of the existing bucket, and of the next one.
    incarnation: u64,
    next_incarnation: u64,
    /// Number of calls that rebased the bucket.
    rebased: u64,
}

impl Comparison {
    async fn script(&mut self, verb: &str, arguments: &[u64]) -> Vec<u64> {
        let mut command = redis::cmd("EVAL");
        command
            .arg(LEASE.source)
            .arg(1)
            .arg(&self.key)
            .arg(&self.packed[..])
            .arg(verb)
            .arg(self.next_incarnation)
            .arg(self.now)
            .arg(arguments);
        let reply: Vec<u64> = command.query_async(&mut self.connection).await.unwrap();
        self.incarnation = reply[4];
        self.rebased += reply[5];
        // A bucket that is rebased or reset next is another incarnation.
        self.next_incarnation += 1;
        reply
    }

    fn new_bucket(&self) -> LeasedBucket {
        LeasedBucket::with_tolerance(self.layout.tick(TOLERANCE.as_nanos() as u64))
    }

    /// Compares the leases stored on the server with those of the reference.
    async fn compare(&mut self) {
        let stored: Vec<u8> = redis::cmd("GET")
            .arg(&self.key)
            .query_async(&mut self.connection)
            .await
            .unwrap();
        let found: Vec<Lease> = stored
            .get(20..)
            .unwrap_or_default()
            .chunks(43)
            .map(unpack_lease)
            .collect();
        assert_eq!(found, self.reference.leases);
    }

    /// Settles a state: the stamp of an unused bucket is arbitrary.
    fn settled(&self, state: State) -> State {
        self.layout
            .refill_to(state, tick_at_micros(&self.layout, self.now))
    }

    async fn request(&mut self, request: LeaseRequest) {
        let LeaseRequest {
            holder,
            seq,
            acked,
            kept,
            returned,
            need,
            want,
        } = request;
        let numbers = [kept, returned, need, want, LIMITS.max_leased].map(u64::from);
        let arguments = [
            &[holder, seq, acked][..],
            &numbers[..],
            &[LIMITS.lifetime_micros],
        ]
        .concat();
        let reply = self.script("ask", &arguments).await;
        let before = self.reference.clone();
        let expected = self
            .reference
            .handle(&self.layout, &LIMITS, self.now, &request);
        let state = self.settled(State {
            spent: reply[2],
            stamp: reply[3],
        });
        let expected = expected.map(|reply| (reply.granted, reply.kept, self.settled(reply.state)));
        let found = (reply[0] == 1).then(|| (reply[6] as u32, reply[7] as u32, state));
        assert_eq!(found, expected, "{request:?} at {} of {before:?}", self.now);
    }

    /// Requests more leases than there is room for, first while all are live, then after some have
    /// ended.
    async fn crowd(&mut self) {
        for holder in 1000..1070 {
            self.now += if holder == 1035 {
                LIMITS.lifetime_micros
            } else {
                1
            };
            self.request(LeaseRequest {
                holder,
                seq: 1,
                acked: 0,
                kept: 0,
                returned: 0,
                need: 1,
                want: 1,
            })
            .await;
            self.compare().await;
        }
    }

    async fn take(&mut self, cost: u32) -> Option<State> {
        let reply = self.script("take", &[u64::from(cost)]).await;
        let taken = self.reference.take(&self.layout, self.now, cost);
        let state = State {
            spent: reply[2],
            stamp: reply[3],
        };
        assert_eq!(
            (reply[0] == 1, state),
            (taken.is_ok(), taken.unwrap_or_else(|refused| refused)),
            "take {cost}"
        );
        taken.ok()
    }

    /// Refunds a decision of an incarnation.
    async fn refund(&mut self, incarnation: u64, sold: State, cost: u32) {
        let charged = self.layout.units(cost);
        let current = self.incarnation; // Read first: the reply may change it.
        let reply = self
            .script("refund", &[incarnation, sold.stamp, charged])
            .await;
        let rebased = self.reference.rebase(&self.layout, self.now);
        let refunded = !rebased
            && incarnation == current
            && self.reference.refund(&self.layout, sold, charged);
        assert_eq!(
            (reply[0] == 1, reply[2]),
            (refunded, self.reference.state.spent),
            "refund {cost}"
        );
    }

    async fn reset(&mut self) {
        let incarnation = self.next_incarnation;
        let reply = self.script("reset", &[LIMITS.lifetime_micros]).await;
        if self.reference.leases.is_empty() {
            // The bucket is deleted, and with it the stamp.
            self.reference = self.new_bucket();
        }
        self.reference.reset(&self.layout, self.now);
        assert_eq!((reply[0], reply[2], reply[4]), (1, 0, incarnation));
    }
}

fn unpack_lease(bytes: &[u8]) -> Lease {
    let mut rest = bytes;
    let mut number = |width: usize| {
        let (number, after) = rest.split_at(width);
        rest = after;
        number
            .iter()
            .fold(0, |number, &byte| number << 8 | u64::from(byte))
    };
    let (holder, seq, tokens, unacked) = (number(7), number(7), number(4) as u32, number(4) as u32);
    Lease {
        holder,
        seq,
        tokens,
        unacked,
        refundable: number(7),
        unacked_refundable: number(7),
        expiry: number(7),
    }
}

/// Returns a random request, which may violate the protocol.
fn random_request(random: &mut Random, seqs: &mut [u64]) -> LeaseRequest {
    let holder = random.below(seqs.len() as u64) as usize;
    let seq = (seqs[holder] + random.below(3) + random.below(2)).saturating_sub(random.below(2));
    let acked = if random.chance(70) {
        seqs[holder]
    } else {
        seqs[holder].saturating_sub(1)
    };
    seqs[holder] = seqs[holder].max(seq);
    let mut below = |bound: u64| random.below(bound) as u32;
    let (kept, returned, need, want) = (below(4), below(4), below(5), below(12));
    LeaseRequest {
        holder: holder as u64 + 1,
        seq,
        acked,
        kept,
        returned,
        need,
        want,
    }
}

#[tokio::test]
async fn the_script_matches_the_reference() {
    let server = Server::start();
    let connection = server.connect().await;
    let greedy = |tokens: u32, capacity| Quota::per_second(tokens).with_capacity(capacity);
    let window = Quota::interval(100, Duration::from_secs(1));
    let mut rebased = 0;
    for round in 0..40 {
        let mut random = Random::new(round);
        let quota = [greedy(7, 60), greedy(50, 100), greedy(1000, 400), window][round as usize % 4];
        let ScriptQuota { layout, packed, .. } = ScriptQuota::new(quota, TOLERANCE);
        let (connection, key) = (connection.clone(), format!("key {round}"));
        let tolerance = layout.tick(TOLERANCE.as_nanos() as u64);
        let reference = LeasedBucket::with_tolerance(tolerance);
        let mut comparison = Comparison {
            connection,
            key,
            layout,
            packed,
            reference,
            now: START,
            incarnation: 0,
            next_incarnation: 77,
            rebased: 0,
        };
        // A few holders, or more than there is room for.
        let (holders, length) = if round % 5 == 0 { (60, 400) } else { (4, 100) };
        let (mut seqs, mut sold) = (vec![0; holders], Vec::new());
        if round % 5 == 0 {
            comparison.crowd().await;
        }
        for _ in 0..length {
            match random.below(10) {
                0 => {
                    let cost = 1 + random.below(6) as u32;
                    let taken = comparison.take(cost).await;
                    sold.extend(taken.map(|state| (comparison.incarnation, state, cost)));
                }
                1 => {
                    if let Some((incarnation, state, cost)) = sold.pop() {
                        comparison.refund(incarnation, state, cost).await;
                    }
                }
                2 if random.chance(20) => comparison.reset().await,
                2 if random.chance(10) => comparison.now -= random.below(20_000_000),
                2 => comparison.now -= random.below(100_000),
                _ => {
                    comparison
                        .request(random_request(&mut random, &mut seqs))
                        .await
                }
            }
            comparison.compare().await;
            let max = if random.chance(10) { 1_000_000 } else { 30_000 };
            comparison.now += random.log_uniform(max);
        }
        rebased += comparison.rebased;
    }
    assert!(rebased > 0, "no clock step was far enough");
}
