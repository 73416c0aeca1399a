//! A client that sends its whole body before it reads gets the response that refuses the request.

use std::io;

use test_support::{Client, Launch, Response, SLOW, Server, Upstream};

const MIB: usize = 1 << 20;

/// Starts a server without tokens for 127.0.0.1.
fn exhausted(more: &[&str]) -> Server {
    let args = [&["--capacity", "1", "--refill-rate", SLOW], more].concat();
    let server = Launch::new().args(&args).start();
    server.get("/");
    server
}

/// Sends a request with a body of `length` bytes to the end, and then reads the response.
fn upload(mut client: Client, headers: &str, length: usize) -> io::Result<Response> {
    let head = "POST /api/upload HTTP/1.1\r\nHost: a\r\n";
    let (framing, end) = match headers.contains("chunked") {
        true => (format!("\r\n{length:x}\r\n"), "\r\n0\r\n\r\n"),
        false => (format!("Content-Length: {length}\r\n\r\n"), ""),
    };
    client.send(format!("{head}{headers}{framing}").as_bytes())?;
    client.send(&vec![b'x'; length])?;
    client.send(end.as_bytes())?;
    client.read()
}

#[test]
fn a_refused_upload_reads_its_429() {
    let upstream = Upstream::with_body("never seen");
    for more in [&[][..], &["--upstream", &upstream.url()]] {
        let mut server = exhausted(more);
        for headers in [
            "",
            "Transfer-Encoding: chunked\r\n",
            // The client does not wait for the interim response.
            "Expect: 100-continue\r\n",
        ] {
            for length in [2 * MIB, 5 * MIB, 30 * MIB] {
                let response = upload(server.client(), headers, length)
                    .unwrap_or_else(|error| panic!("{headers:?}, {length} bytes: {error}"));
                assert_eq!(response.status, 429, "{headers:?}, {length} bytes");
                assert_eq!(response.header("Connection"), Some("close"));
            }
        }
        server.assert_healthy();
    }
}

#[test]
fn a_refused_upload_of_grpc_web_reads_its_status() {
    let upstream = Upstream::with_body("never seen");
    let text = format!(
        "capacity = 1\nrefill_rate = {SLOW}\nupstream = '{}'\n[connections]\nmax_body_bytes = 30000000\n",
        upstream.url()
    );
    let server = Launch::new().config("gateway.toml", &text).start();
    server.get("/");
    // Below and above the size limit. The server discards no more than 64 MiB.
    for length in [5 * MIB, 60 * MIB] {
        let headers = "Content-Type: application/grpc-web+proto\r\n";
        let response = upload(server.client(), headers, length).unwrap();
        let status = (response.status, response.header("grpc-status"));
        assert_eq!(status, (200, Some("8")), "{length} bytes");
    }
}

#[test]
fn an_upload_above_the_size_limit_reads_its_413() {
    let server = Server::with_capacity(100);
    let response = upload(server.client(), "", 30 * MIB).unwrap();
    assert_eq!(response.status, 413);
}

#[test]
fn a_body_limit_above_64_mib_raises_the_number_of_bytes_that_are_discarded() {
    let upstream = Upstream::with_body("never seen");
    let text = format!(
        "capacity = 1\nrefill_rate = {SLOW}\nupstream = '{}'\n[connections]\nmax_body_bytes = 100000000\n",
        upstream.url()
    );
    let server = Launch::new().config("gateway.toml", &text).start();
    server.get("/");
    let response = upload(server.client(), "", 95 * MIB).unwrap();
    assert_eq!(response.status, 429);
}
