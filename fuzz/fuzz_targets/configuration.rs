//! Configuration files: an error of one line, or a server that responds and reloads.
#![no_main]

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use libfuzzer_sys::fuzz_target;
use tollgate_server::fuzz::{Outcome, Server, Start};

/// A file that begins with `#` continues one with this token, which no error shows.
const TOKEN: &str = "kept-secret-0123456789";

fn responses(server: &Server) -> [Option<u16>; 5] {
    ["/", "/health", "/config", "/check", "/a/..;/b"].map(|path| {
        let request = Request::get(path).header("host", "localhost");
        let request = request.body(Full::new(Bytes::new())).unwrap();
        match server.send([127, 0, 0, 1].into(), request).outcome {
            Outcome::Response(response) => Some(response.status().as_u16()),
            Outcome::Forwarded(_) => None,
        }
    })
}

fuzz_target!(|text: &str| {
    let with_token = text
        .strip_prefix('#')
        .filter(|rest| !rest.contains(TOKEN))
        .map(|rest| format!("admin_token = '{TOKEN}'\n{rest}"));
    let mut server = match Server::start(with_token.as_deref().unwrap_or(text)) {
        Start::Started(server) => server,
        Start::NotStarted => return,
        Start::Refused(line) => {
            assert!(!line.is_empty() && !line.contains(['\n', '\r']), "{line}");
            assert!(with_token.is_none() || !line.contains(TOKEN), "{line}");
            return;
        }
    };
    for status in responses(&server).into_iter().flatten() {
        assert!((200..500).contains(&status), "{status}");
    }
    server.reload().expect("the file is valid");
    for status in responses(&server).into_iter().flatten() {
        assert!((200..500).contains(&status), "{status}");
    }
});
