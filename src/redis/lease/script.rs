//! The script that is the ledger inside the server, step for step beside [`Ledger`] on a real one.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{Ask, Ledger, Limits, ledger::Lease, simulation::random::Random, tick};
use crate::{
    quota::Quota,
    redis::{script::LEASE, terms::Limit},
    state::{Layout, State},
};

const START: u64 = 50_000_000_000_000;
const LIMITS: Limits = Limits {
    most: 40,
    lifetime: 500_000,
};

/// A server of our own, ended when dropped.
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
        panic!("redis-server does not answer");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both sides of one key.
struct Beside {
    connection: redis::aio::MultiplexedConnection,
    key: String,
    layout: Layout,
    terms: Vec<u8>,
    ledger: Ledger,
    now: u64,
    /// Of the bucket that is there, and the one that a new one gets.
    life: u64,
    next_life: u64,
}

impl Beside {
    async fn script(&mut self, verb: &str, arguments: &[u64]) -> Vec<u64> {
        let mut command = redis::cmd("EVAL");
        command
            .arg(LEASE.source)
            .arg(1)
            .arg(&self.key)
            .arg(&self.terms[..])
            .arg(verb)
            .arg(self.next_life)
            .arg(self.now)
            .arg(arguments);
        let answer: Vec<u64> = command.query_async(&mut self.connection).await.unwrap();
        self.life = answer[4];
        answer
    }

    /// What the server keeps, lease for lease.
    async fn compare(&mut self) {
        let held: Vec<u8> = redis::cmd("GET")
            .arg(&self.key)
            .query_async(&mut self.connection)
            .await
            .unwrap();
        let found: Vec<Lease> = held
            .get(20..)
            .unwrap_or_default()
            .chunks(43)
            .map(lease)
            .collect();
        assert_eq!(found, self.ledger.leases);
    }

    /// A bucket that nobody has used yet has any stamp.
    fn settled(&self, state: State) -> State {
        self.layout.refill_to(state, tick(&self.layout, self.now))
    }

    async fn ask(&mut self, ask: Ask) {
        let Ask {
            node,
            seq,
            known,
            kept,
            back,
            need,
            want,
        } = ask;
        let numbers = [kept, back, need, want, LIMITS.most].map(u64::from);
        let arguments = [&[node, seq, known][..], &numbers[..], &[LIMITS.lifetime]].concat();
        let answer = self.script("ask", &arguments).await;
        let before = self.ledger.clone();
        let reply = self.ledger.ask(&self.layout, &LIMITS, self.now, &ask);
        let state = self.settled(State {
            spent: answer[2],
            stamp: answer[3],
        });
        let expected = reply.map(|reply| (reply.granted, reply.kept, self.settled(reply.state)));
        let found = (answer[0] == 1).then(|| (answer[5] as u32, answer[6] as u32, state));
        assert_eq!(found, expected, "{ask:?} at {} of {before:?}", self.now);
    }

    /// More leases than there is room for, and then those of before have ended.
    async fn crowd(&mut self) {
        for node in 1000..1070 {
            self.now += if node == 1035 { LIMITS.lifetime } else { 1 };
            self.ask(Ask {
                node,
                seq: 1,
                known: 0,
                kept: 0,
                back: 0,
                need: 1,
                want: 1,
            })
            .await;
            self.compare().await;
        }
    }

    async fn take(&mut self, cost: u32) -> Option<State> {
        let answer = self.script("take", &[u64::from(cost)]).await;
        let taken = self.ledger.take(&self.layout, self.now, cost);
        let state = State {
            spent: answer[2],
            stamp: answer[3],
        };
        assert_eq!(
            (answer[0] == 1, state),
            (taken.is_ok(), taken.unwrap_or_else(|refused| refused)),
            "take {cost}"
        );
        taken.ok()
    }

    /// Of a decision in that life.
    async fn refund(&mut self, life: u64, sold: State, cost: u32) {
        let charged = self.layout.units(cost);
        let there = self.life; // Which the answer may change.
        let answer = self.script("refund", &[life, sold.stamp, charged]).await;
        let given = life == there && self.ledger.refund(&self.layout, sold, charged);
        assert_eq!(
            (answer[0] == 1, answer[2]),
            (given, self.ledger.state.spent),
            "refund {cost}"
        );
    }

    async fn reset(&mut self) {
        self.next_life += 1;
        let answer = self.script("reset", &[LIMITS.lifetime]).await;
        if self.ledger.leases.is_empty() {
            // Forgotten altogether, and with it the stamp.
            self.ledger = Ledger::new();
        }
        self.ledger.reset(&self.layout, self.now);
        assert_eq!((answer[0], answer[2], answer[4]), (1, 0, self.next_life));
    }
}

fn lease(bytes: &[u8]) -> Lease {
    let mut rest = bytes;
    let mut number = |width: usize| {
        let (number, behind) = rest.split_at(width);
        rest = behind;
        number
            .iter()
            .fold(0, |number, &byte| number << 8 | u64::from(byte))
    };
    let (node, seq, tokens, fresh) = (number(7), number(7), number(4) as u32, number(4) as u32);
    Lease {
        node,
        seq,
        tokens,
        fresh,
        owed: number(7),
        fresh_owed: number(7),
        expiry: number(7),
    }
}

/// As processes would ask, and as none would.
fn some_ask(random: &mut Random, seqs: &mut [u64]) -> Ask {
    let node = random.below(seqs.len() as u64) as usize;
    let seq = (seqs[node] + random.below(3) + random.below(2)).saturating_sub(random.below(2));
    let known = if random.chance(70) {
        seqs[node]
    } else {
        seqs[node].saturating_sub(1)
    };
    seqs[node] = seqs[node].max(seq);
    let mut few = |most: u64| random.below(most) as u32;
    let (kept, back, need, want) = (few(4), few(4), few(5), few(12));
    Ask {
        node: node as u64 + 1,
        seq,
        known,
        kept,
        back,
        need,
        want,
    }
}

#[tokio::test]
async fn the_script_answers_as_the_ledger_does() {
    let server = Server::start();
    let connection = server.connect().await;
    let greedy = |tokens: u32, capacity| {
        Quota::per_second(tokens)
            .with_capacity(capacity)
            .with_debt(0)
    };
    let window = Quota::interval(100, Duration::from_secs(1)).with_debt(0);
    for round in 0..40 {
        let mut random = Random::new(round);
        let quota = [greedy(7, 60), greedy(50, 100), greedy(1000, 400), window][round as usize % 4];
        let Limit { layout, terms, .. } = Limit::new(quota);
        let (connection, key) = (connection.clone(), format!("key {round}"));
        let ledger = Ledger::new();
        let mut beside = Beside {
            connection,
            key,
            layout,
            terms,
            ledger,
            now: START,
            life: 0,
            next_life: 77,
        };
        // A few processes, or more than there is room for.
        let (processes, length) = if round % 5 == 0 { (60, 400) } else { (4, 100) };
        let (mut seqs, mut sold) = (vec![0; processes], Vec::new());
        if round % 5 == 0 {
            beside.crowd().await;
        }
        for _ in 0..length {
            match random.below(10) {
                0 => {
                    let cost = 1 + random.below(6) as u32;
                    let taken = beside.take(cost).await;
                    sold.extend(taken.map(|state| (beside.life, state, cost)));
                }
                1 => {
                    if let Some((life, state, cost)) = sold.pop() {
                        beside.refund(life, state, cost).await;
                    }
                }
                2 if random.chance(20) => beside.reset().await,
                2 => beside.now -= random.below(100_000),
                _ => beside.ask(some_ask(&mut random, &mut seqs)).await,
            }
            beside.compare().await;
            let most = if random.chance(10) { 1_000_000 } else { 30_000 };
            beside.now += random.spread(most);
        }
    }
}
