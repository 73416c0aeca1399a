//! Requests of one client at the same time.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use test_support::{Upstream, eventually};

use super::{SocketServer, example};

/// Holds the responses to `/slow` back until the test opens it.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let is_open = self.0.0.lock().unwrap();
        let timeout = Duration::from_secs(20);
        let waited = self
            .0
            .1
            .wait_timeout_while(is_open, timeout, |is_open| !*is_open);
        drop(waited.unwrap());
    }
}

#[test]
fn connections_of_one_client() {
    let gate = Gate::default();
    let upstream = {
        let gate = gate.clone();
        Upstream::start(move |connection| {
            loop {
                if connection
                    .request()?
                    .request_line()
                    .starts_with("GET /slow")
                {
                    gate.wait();
                }
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            }
        })
    };
    let text = example("Connections").replace("http://127.0.0.1:9000", &upstream.url());
    let server = SocketServer::start(&text);
    let mut held = [(); 2].map(|()| {
        let mut client = server.client(1);
        client
            .send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        client
    });
    eventually("both requests are at the upstream", || {
        upstream.requests().len() == 2
    });
    let mut third = server.client(1);
    let refused = third.get("/");
    assert_eq!((refused.status, refused.number("Retry-After")), (429, 1));
    assert_eq!(server.client(2).get("/").status, 200);
    gate.open();
    for client in &mut held {
        assert_eq!(client.read().unwrap().status, 200);
    }
    eventually("the slots are free", || third.get("/").status == 200);
}
