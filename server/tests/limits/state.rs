//! `--state`: buckets that outlive processes, and that several processes share.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, thread};

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use test_support::{Launch, Server, eventually, reload::Reloaded};

const QUOTA: &str = "capacity = 10\nrefill_rate = 0.001\n";

/// Directory that the servers of a test share.
struct State(TempDir);

impl State {
    fn new() -> State {
        State(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> String {
        self.0.path().join("state").to_str().unwrap().to_owned()
    }

    fn start(&self, toml: &str) -> Server {
        let launch = Launch::new().config("tollgate.toml", toml);
        launch.args(&["--state", &self.path()]).start()
    }

    fn error(&self, toml: &str) -> String {
        let launch = Launch::new().config("tollgate.toml", toml);
        let error = launch.args(&["--state", &self.path()]).start_error();
        let error = error.expect("it does not start");
        assert_eq!(error.code, Some(2), "{}", error.stderr);
        error.stderr
    }
}

fn kill(mut server: Server) {
    server.signal(Signal::KILL);
    server
        .exit_within(std::time::Duration::from_secs(10))
        .expect("it is killed");
}

#[test]
fn buckets_outlive_a_restart_and_a_crash() {
    let state = State::new();
    let server = state.start(QUOTA);
    let mut client = server.client();
    assert_eq!(
        (client.get("/").remaining(), client.get("/").remaining()),
        (9, 8)
    );
    kill(server);

    let server = state.start(QUOTA);
    assert_eq!(server.get("/").remaining(), 7, "after a crash");
    drop(server);
    let server = state.start(QUOTA);
    assert_eq!(server.get("/").remaining(), 6, "after a stop");
    let mode = fs::metadata(Path::new(&state.path()).join("default"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn processes_with_one_directory_are_one_limit() {
    let state = State::new();
    let servers = [(); 3].map(|()| state.start("capacity = 100\nrefill_rate = 0.001\n"));
    let allowed = thread::scope(|scope| {
        let clients = servers.each_ref().map(|server| {
            scope.spawn(move || {
                let mut client = server.client();
                (0..60).filter(|_| client.get("/").status == 200).count()
            })
        });
        clients
            .map(|client| client.join().unwrap())
            .iter()
            .sum::<usize>()
    });
    assert_eq!(allowed, 100);
}

#[test]
fn a_quota_that_an_administrator_sets_holds_for_all_from_the_next_request() {
    let state = State::new();
    let [one, other] = [(); 2].map(|()| state.start(QUOTA));
    let mut client = other.client();
    client.get("/");
    let updated = one.post("/config", r#"{"capacity": 20, "refill_rate": 0.002}"#);
    assert_eq!(updated.status, 200);
    let response = client.get("/");
    assert_eq!((response.limit(), response.remaining()), (20, 19));
    assert_eq!(other.get("/config").json()["capacity"], 20);
    assert_eq!(one.get("/").remaining(), 18);
}

#[test]
fn limits_routes_and_bans_are_shared() {
    let state = State::new();
    let toml = "[[limits]]\nname = 'api'\nquota = '3/day'\nban = { after = 3, within = '1h', for = '1h' }\n\
                [[routes]]\npath = '/api/data'\ncapacity = 2\nrefill_rate = 0.001\n";
    let [one, other] = [(); 2].map(|()| state.start(toml));
    let (mut first, mut second) = (one.client(), other.client());
    let statuses: Vec<_> = (0..3).map(|_| first.get("/").status).collect();
    assert_eq!(statuses, [200; 3]);
    // Two refusals of the first process and one of the second begin the ban, which holds in both.
    assert_eq!([first.get("/").status, first.get("/").status], [429, 429]);
    assert_eq!(second.get("/").status, 429);
    for client in [&mut first, &mut second] {
        let banned = client.get("/");
        assert_eq!(banned.status, 429);
        let wait: u64 = banned.header("retry-after").unwrap().parse().unwrap();
        assert!((3500..=3600).contains(&wait), "{wait}");
    }
    kill(one);
    kill(other);
    assert_eq!(
        state.start(toml).get("/").status,
        429,
        "the ban outlives both"
    );
}

#[test]
fn the_process_that_starts_last_decides_the_quota() {
    let state = State::new();
    let reloaded = Reloaded::start(QUOTA, &["--state", &state.path()]);
    let mut client = reloaded.server.client();
    assert_eq!(client.get("/").remaining(), 9);

    let newer = state.start("capacity = 50\nrefill_rate = 0.001\n");
    newer.wait_for_log("table replaced; all buckets full");
    assert_eq!(client.get("/").remaining(), 49);
    let adopted = "quota of another process adopted";
    reloaded.server.wait_for_log(adopted);
    // A reload of a file that did not change does not set its quota back; one that did does.
    reloaded.reload(QUOTA);
    assert_eq!(client.get("/").remaining(), 48);
    reloaded.reload("capacity = 30\nrefill_rate = 0.001\n");
    assert_eq!(client.get("/").remaining(), 29);
    assert_eq!(newer.get("/").remaining(), 28);
    newer.wait_for_log(adopted);
    let log = reloaded.server.stderr();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(adopted)).collect();
    assert!(
        matches!(lines[..], [line] if line.contains("limit=default") && line.contains("capacity 50")),
        "{lines:?}"
    );
}

#[test]
fn several_limits_of_one_request_are_all_or_nothing_across_processes() {
    let state = State::new();
    let toml = "[[limits]]\nname = 'burst'\nquota = ['2/day', '5/day']\ncost = { '/api/data' = 1 }\n\
                [[limits]]\nname = 'data'\nmatch = '/api/data'\nquota = '1/day'\n";
    let [one, other] = [(); 2].map(|()| state.start(toml));
    assert_eq!(one.get("/api/data").status, 200);
    // Refused by one limit, so the others give nothing away.
    assert_eq!(other.get("/api/data").status, 429);
    assert_eq!(other.get("/").status, 200);
    assert_eq!(one.get("/").status, 429);
}

#[test]
fn a_directory_of_others_and_settings_that_cannot_be_shared_are_refused() {
    let state = State::new();
    fs::create_dir(state.path()).unwrap();
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = state.error(QUOTA);
    assert!(
        error.contains("mode 777") && error.contains("chmod"),
        "{error}"
    );
    assert_eq!(error.trim().lines().count(), 1, "{error}");
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o700)).unwrap();

    let error = state.error("redis = 'redis://127.0.0.1:1/'\n");
    assert!(
        error.contains("state: expected no redis beside it"),
        "{error}"
    );
}

fn rule(client: &str, capacity: u32) -> String {
    json!({"client_id": client, "capacity": capacity, "refill_rate": 0.001}).to_string()
}

#[test]
fn rules_of_clients_hold_for_all_from_the_next_request() {
    let state = State::new();
    let [one, other] = [(); 2].map(|()| state.start(QUOTA));
    let mut client = other.client();
    assert_eq!(client.get("/").remaining(), 9);
    assert_eq!(
        one.post("/admin/update-rule", &rule("127.0.0.1", 50))
            .status,
        200
    );
    let response = client.get("/");
    assert_eq!((response.limit(), response.remaining()), (50, 49));
    assert_eq!(one.get("/").remaining(), 48);
    assert_eq!(
        other.get("/config").json()["rules"]["127.0.0.1"]["capacity"],
        50
    );
    assert_eq!(other.client_from("127.0.0.2").get("/").limit(), 10);

    // They outlive all processes, and a new default quota, which fills their buckets too.
    kill(one);
    kill(other);
    let [one, other] = [(); 2].map(|()| state.start(QUOTA));
    assert_eq!(one.get("/").remaining(), 47);
    assert_eq!(other.post("/config", r#"{"capacity": 20}"#).status, 200);
    assert_eq!(one.get("/").remaining(), 49);

    assert_eq!(one.client().delete("/admin/rule/127.0.0.1").status, 200);
    assert_eq!(other.get("/").limit(), 20);
    assert_eq!(other.client().delete("/admin/rule/127.0.0.1").status, 404);
    assert_eq!(other.get("/config").json()["rules"], json!({}));
}

#[test]
fn rules_of_a_file_are_set_at_the_start_and_at_reloads() {
    let state = State::new();
    let with_rule = |capacity: u32| {
        format!(
            "{QUOTA}[[rules]]\nclient_id = '127.0.0.1'\ncapacity = {capacity}\nrefill_rate = 0.001\n"
        )
    };
    let reloaded = Reloaded::start(&with_rule(50), &["--state", &state.path()]);
    let other = state.start(QUOTA);
    assert_eq!(other.get("/").remaining(), 49);
    reloaded.reload(&with_rule(60));
    assert_eq!(other.get("/").remaining(), 59);
    // An administrator's rule stays until the file changes it.
    assert_eq!(
        other
            .post("/admin/update-rule", &rule("127.0.0.1", 70))
            .status,
        200
    );
    reloaded.reload(&with_rule(60));
    assert_eq!(reloaded.server.get("/").remaining(), 69);
    reloaded.reload(QUOTA);
    assert_eq!(other.get("/").limit(), 70);
    assert_eq!(
        other.get("/config").json()["rules"]
            .as_object()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn rules_that_processes_set_at_once_are_all_kept() {
    let state = State::new();
    let servers = [(); 3].map(|()| state.start(QUOTA));
    thread::scope(|scope| {
        for (number, server) in servers.iter().enumerate() {
            scope.spawn(move || {
                for host in 0..10 {
                    let client = format!("127.0.{}.{}", number + 1, host + 1);
                    assert_eq!(
                        server.post("/admin/update-rule", &rule(&client, 33)).status,
                        200
                    );
                }
            });
        }
    });
    let config = servers[0].get("/config").json();
    assert_eq!(config["rules"].as_object().unwrap().len(), 30, "{config}");
    for number in 1..=3 {
        let client = format!("127.0.{number}.10");
        assert_eq!(
            servers[number % 3].client_from(&client).get("/").limit(),
            33
        );
    }
}

#[test]
fn copies_on_a_disk_outlive_the_memory() {
    let state = State::new();
    let copy = state.0.path().join("copy");
    let limits = "[[limits]]\nname = 'api'\nquota = '3/day'\nban = { after = 1, within = '1h', for = '1h' }\n";
    let toml = format!("state_copy = {:?}\n{QUOTA}{limits}", copy.to_str().unwrap());
    let server = state.start(&toml);
    let mut client = server.client();
    assert_eq!(
        server
            .post("/admin/update-rule", &rule("127.0.0.1", 50))
            .status,
        200
    );
    assert_eq!(
        (0..3).map(|_| client.get("/").status).collect::<Vec<_>>(),
        [200; 3]
    );
    assert_eq!((client.get("/").status, client.get("/").status), (429, 429));
    // Every ten seconds, and at the end.
    eventually("a copy", || {
        copy.join("limit-api").exists() && copy.join("default").exists()
    });
    let mut server = server;
    server.signal(Signal::TERM);
    server
        .exit_within(std::time::Duration::from_secs(20))
        .expect("it stops");
    fs::remove_dir_all(state.path()).unwrap();

    let server = state.start(&toml);
    assert_eq!(server.get("/").status, 429, "banned still");
    assert_eq!(
        server.get("/config").json()["rules"]["127.0.0.1"]["capacity"],
        50
    );
    let other = server.client_from("127.0.0.2").get("/");
    assert_eq!(other.status, 200);
    drop(server);

    let error = Launch::new()
        .args(&["--state-copy", "/tmp/copy"])
        .start_error()
        .unwrap();
    assert!(
        error
            .stderr
            .contains("state_copy: expected state beside it"),
        "{}",
        error.stderr
    );
    let same = ["--state", "/tmp/same", "--state-copy", "/tmp/same"];
    let error = Launch::new().args(&same).start_error().unwrap();
    assert!(
        error
            .stderr
            .contains("state_copy: expected another directory"),
        "{}",
        error.stderr
    );
}
