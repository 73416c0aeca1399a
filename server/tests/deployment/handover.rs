//! Deploys that lose no connection: a newer process takes the listening sockets over.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;
use test_support::{Client, Launch, Server};

const CAPACITY: usize = 1000;
const QUOTA: &str = "capacity = 1000\nrefill_rate = 0.001\n";
const EXIT_TIMEOUT: Duration = Duration::from_secs(20);

/// Directory that processes share, and an address for all of them.
struct Deploy {
    directory: TempDir,
    address: String,
}

impl Deploy {
    fn new() -> Deploy {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        Deploy {
            directory: tempfile::tempdir().unwrap(),
            address: free.to_string(),
        }
    }

    fn state(&self) -> String {
        self.directory
            .path()
            .join("state")
            .to_str()
            .unwrap()
            .to_owned()
    }

    fn launch(&self) -> Launch {
        let launch = Launch::new().config("tollgate.toml", QUOTA);
        launch
            .listen(Some(&self.address))
            .args(&["--state", &self.state()])
    }
}

/// Requests to an address, each on a connection of its own, until a flag is set. Returns how many were
/// allowed. Any other response than 200 and 429, and any error, is a panic.
fn requests(address: SocketAddr, ends: &AtomicBool) -> usize {
    let mut allowed = 0;
    while !ends.load(Ordering::Relaxed) {
        let response = Client::connect(address, None).get("/");
        allowed += usize::from(response.status == 200);
        assert!([200, 429].contains(&response.status), "{}", response.text());
    }
    allowed
}

/// Makes requests in four threads while `deploy` runs, and until all tokens are taken.
fn under_load<T>(address: SocketAddr, deploy: impl FnOnce() -> T) -> (usize, T) {
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = [(); 4].map(|()| scope.spawn(|| requests(address, &ends)));
        thread::sleep(Duration::from_millis(50));
        let result = deploy();
        // The others may have taken all by now, or this one takes its part.
        let mut allowed = 0;
        while Client::connect(address, None).get("/").status == 200 {
            allowed += 1;
        }
        ends.store(true, Ordering::Relaxed);
        let others = clients.map(|client| client.join().unwrap());
        (allowed + others.iter().sum::<usize>(), result)
    })
}

fn assert_exits(mut server: Server) {
    let status = server
        .exit_within(EXIT_TIMEOUT)
        .expect("the older process stops");
    assert!(status.success(), "{status}\n{}", server.stderr());
}

#[test]
fn a_newer_process_takes_the_socket_over_under_load() {
    let deploy = Deploy::new();
    let mut current = deploy.launch().start();
    let address = current.address;
    let (allowed, last) = under_load(address, || {
        for _ in 0..3 {
            let newer = deploy.launch().start();
            assert_eq!(newer.address, address);
            assert_exits(std::mem::replace(&mut current, newer));
        }
        current
    });
    assert_eq!(allowed, CAPACITY);
    assert!(last.stderr().contains("the older process stops"));
    let sockets = fs::read_dir(deploy.state()).unwrap();
    let sockets =
        sockets.filter(|file| file.as_ref().unwrap().path().extension() == Some("sock".as_ref()));
    assert_eq!(sockets.count(), 1, "that of the last one");
}

#[test]
fn systemd_keeps_the_socket_over_a_restart_under_load() {
    let deploy = Deploy::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
    let launch = || {
        let launch = Launch::new().config("tollgate.toml", QUOTA).listen(None);
        // The socket decides.
        let launch = launch.args(&["--listen", "127.0.0.1:1", "--state", &deploy.state()]);
        launch.listen_fds(&[socket.as_raw_fd()])
    };
    let mut current = launch().start();
    assert_eq!(current.address, address);
    let (allowed, _last) = under_load(address, || {
        for _ in 0..3 {
            // Stopped first, as systemctl restart does: the queue is kept meanwhile.
            current.signal(Signal::TERM);
            assert!(
                current
                    .exit_within(EXIT_TIMEOUT)
                    .expect("it stops")
                    .success()
            );
            current = launch().start();
        }
        current
    });
    assert_eq!(allowed, CAPACITY);
}

#[test]
fn a_socket_from_systemd_does_not_open_the_admin_api() {
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
    let launch = Launch::new().config("tollgate.toml", QUOTA).listen(None);
    let server = launch.listen_fds(&[socket.as_raw_fd()]).start();
    let address = (std::net::Ipv4Addr::LOCALHOST, server.address.port()).into();
    assert_eq!(
        Client::connect(address, None).get("/config").status,
        403,
        "as on any public address"
    );
}

#[test]
fn the_admin_socket_is_taken_over_as_well() {
    let deploy = Deploy::new();
    let path = deploy.directory.path().join("admin.sock");
    let admin = format!("unix:{}", path.display());
    let launch = || deploy.launch().args(&["--admin-listen", &admin]);
    let older = launch().start();
    let newer = launch().start();
    assert_exits(older);
    assert!(path.exists(), "the newer process listens on it");
    let config = ask(&path);
    assert!(
        config.contains("\"capacity\":1000") || config.contains("\"capacity\": 1000"),
        "{config}"
    );
    drop(newer);
}

#[test]
fn the_file_of_a_socket_from_systemd_stays() {
    let deploy = Deploy::new();
    let path = deploy.directory.path().join("admin.sock");
    let sockets = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = UnixListener::bind(&path).unwrap();
    for socket in [sockets.as_fd(), admin.as_fd()] {
        rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty()).unwrap();
    }
    for _ in 0..2 {
        let launch = Launch::new().config("tollgate.toml", QUOTA).listen(None);
        let launch = launch.args(&["--admin-listen", &format!("unix:{}", path.display())]);
        let mut server = launch
            .listen_fds(&[sockets.as_raw_fd(), admin.as_raw_fd()])
            .start();
        assert!(ask(&path).contains("capacity"));
        server.signal(Signal::TERM);
        assert!(
            server
                .exit_within(EXIT_TIMEOUT)
                .expect("it stops")
                .success()
        );
        assert!(path.exists());
    }
}

#[test]
fn a_process_that_is_stopped_during_a_handover_leaves_the_admin_socket() {
    let deploy = Deploy::new();
    let path = deploy.directory.path().join("admin.sock");
    let admin = format!("unix:{}", path.display());
    let mut older = deploy.launch().args(&["--admin-listen", &admin]).start();
    let offer = fs::read_dir(deploy.state()).unwrap();
    let offer = offer.map(|file| file.unwrap().path());
    let offer = offer
        .into_iter()
        .find(|file| file.extension() == Some("sock".as_ref()));
    // A newer process that has the sockets, and is not ready yet.
    let mut newer = UnixStream::connect(offer.unwrap()).unwrap();
    newer.read_exact(&mut [0]).unwrap();
    older.signal(Signal::TERM);
    assert!(older.exit_within(EXIT_TIMEOUT).expect("it stops").success());
    assert!(path.exists(), "the newer process listens on it");
    // And one that finds neither: the file is a leftover.
    drop(newer);
    drop(deploy.launch().args(&["--admin-listen", &admin]).start());
}

/// Response of the admin API on a Unix socket.
fn ask(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream
        .write_all(b"GET /config HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn a_newer_process_that_does_not_start_leaves_the_older_one_alone() {
    let deploy = Deploy::new();
    let mut older = deploy.launch().start();
    // It takes the sockets, and cannot listen for administrators. It has set no quota by then.
    let broken = deploy.launch().args(&[
        "--capacity",
        "5",
        "--admin-listen",
        "192.0.2.1:1",
        "--admin-token",
        "0123456789abcdef",
    ]);
    let error = broken.start_error().unwrap();
    assert!(error.stderr.contains("--admin-listen"), "{}", error.stderr);
    older.wait_for_log("the newer process did not become ready; this one goes on");
    assert!(older.is_running());
    assert_eq!(older.get("/").limit(), 1000);
    let newer = deploy.launch().start();
    assert_exits(older);
    assert_eq!(newer.get("/").status, 200);
}
