//! Requests that wait for their tokens: which ones pass, and at what time.

use std::{collections::VecDeque, io::ErrorKind, thread, time::Duration};

use proptest::prelude::*;
use test_support::{Client, eventually};

use super::{SocketServer, example, for_schedules};

const HEADING: &str = "Two zones with burst and delay";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Server of the example, with a connection on each of its workers.
struct Delaying {
    server: SocketServer,
    workers: Vec<Client>,
    millis: u64,
}

/// Request that waits, and the time at which it passes.
struct Waiting {
    client: Client,
    passes: u64,
}

impl Delaying {
    fn new() -> Delaying {
        let server = SocketServer::start(example(HEADING));
        let count = thread::available_parallelism().map_or(1, usize::from);
        Delaying {
            workers: (0..count).map(|_| server.client(100)).collect(),
            server,
            millis: 0,
        }
    }

    /// Waits until the workers have run all tasks that were woken: the second response of a worker
    /// is from a later turn of its loop than the first one.
    fn settle(&mut self) {
        for _ in 0..2 {
            for worker in &mut self.workers {
                assert_eq!(worker.get("/health").status, 200);
            }
        }
    }

    fn advance(&mut self, millis: u64) {
        self.server.clock.advance(Duration::from_millis(millis));
        self.millis += millis;
        self.settle();
    }

    /// Sends a request that is decided at once, and returns its status.
    fn status(&self, source: u8) -> u16 {
        self.server.client(source).get("/").status
    }

    /// Returns the number of requests that began to wait.
    fn delayed(&mut self) -> u64 {
        let metrics = self.workers[0].get("/metrics").text();
        let mut lines = metrics.lines();
        let total = lines.find_map(|line| line.strip_prefix("tollgate_delayed_requests_total "));
        total.unwrap().parse().unwrap()
    }

    /// Sends a request, and returns it once it waits.
    fn waiting(&mut self, source: u8, passes: u64) -> Waiting {
        let before = self.delayed();
        let mut client = self.server.client(source);
        client.send(GET).unwrap();
        eventually("the request waits", || self.delayed() > before);
        self.settle();
        Waiting { client, passes }
    }

    /// Reads the responses to the requests that pass now, and asserts that no other one has.
    fn read(&self, waiting: &mut VecDeque<Waiting>) {
        let passed = waiting.partition_point(|request| request.passes <= self.millis);
        for mut request in waiting.drain(..passed) {
            assert_eq!(request.client.read().unwrap().status, 200);
        }
        for other in waiting {
            other.client.stream.set_nonblocking(true).unwrap();
            let peeked = other.client.stream.peek(&mut [0]);
            assert_eq!(peeked.unwrap_err().kind(), ErrorKind::WouldBlock);
            other.client.stream.set_nonblocking(false).unwrap();
        }
    }
}

/// The two clients send half a second apart, so that only the limit by address delays them.
#[test]
fn requests_of_a_client_pass_at_its_rate_in_the_order_of_arrival() {
    let counts = [0..4_u8, 0..4_u8];
    for_schedules(HEADING, counts, 20, |counts| {
        let mut server = Delaying::new();
        let mut lines = [VecDeque::new(), VecDeque::new()];
        // Times at which a token is there that no request has reserved.
        let mut free = [0, 0];
        // The last requests pass at most five seconds after they are sent.
        for sent in counts.into_iter().chain([[0, 0]; 6]) {
            for (client, source) in [(0, 1), (1, 2)] {
                for _ in 0..sent[client] {
                    let passes = server.millis.max(free[client]);
                    if passes > server.millis + 5000 {
                        assert_eq!(server.status(source), 429);
                        continue;
                    }
                    free[client] = passes + 1000;
                    if passes == server.millis {
                        assert_eq!(server.status(source), 200);
                    } else {
                        lines[client].push_back(server.waiting(source, passes));
                    }
                }
                server.advance(500);
                lines.iter_mut().for_each(|line| server.read(line));
            }
        }
        prop_assert!(lines.iter().all(VecDeque::is_empty));
        Ok(())
    });
}

#[test]
fn requests_of_all_clients_pass_at_the_rate_of_the_server() {
    let mut server = Delaying::new();
    assert_eq!(server.status(1), 200);
    let mut waiting: VecDeque<_> = (1..=10)
        .map(|number| server.waiting(1 + number, u64::from(number) * 100))
        .collect();
    assert_eq!(server.status(12), 429);
    for _ in 0..10 {
        server.advance(100);
        server.read(&mut waiting);
    }
    assert!(waiting.is_empty());
}
