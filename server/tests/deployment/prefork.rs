//! A Python service of several processes, each with a tollgate of its own: one limit for all.

use std::{collections::HashSet, process::Command, thread};

use test_support::{Client, Launch, programs::ExternalService};

const WORKERS: usize = 4;
const CAPACITY: usize = 200;

#[test]
fn prefork_workers_are_one_limit() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let start = || {
        let quota = format!("capacity = {CAPACITY}\nrefill_rate = 0.001\n");
        let launch = Launch::new().config("tollgate.toml", &quota);
        launch.args(&["--state", state.to_str().unwrap()]).start()
    };
    let tollgates = [(); WORKERS].map(|()| start());
    let service = ExternalService::start(|address| {
        let mut python = Command::new("python3");
        python
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/deployment/prefork.py"
            ))
            .arg(address.port().to_string())
            .args(
                tollgates
                    .iter()
                    .map(|tollgate| tollgate.address.to_string()),
            );
        python
    });
    let requests = || {
        let (mut allowed, mut workers) = (0, HashSet::new());
        for _ in 0..CAPACITY / 2 {
            let response =
                Client::connect(service.address, None).get_with("/", &[("X-Client", "alice")]);
            allowed += usize::from(response.status == 200);
            workers.insert(response.text());
        }
        (allowed, workers)
    };
    let results = thread::scope(|scope| {
        let clients = [(); 4].map(|()| scope.spawn(requests));
        clients.map(|client| client.join().unwrap())
    });
    let allowed: usize = results.iter().map(|(allowed, _)| allowed).sum();
    assert_eq!(allowed, CAPACITY);
    let workers: HashSet<_> = results.iter().flat_map(|(_, workers)| workers).collect();
    assert!(workers.len() > 1, "several workers responded");
}
