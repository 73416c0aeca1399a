//! Request smuggling: ambiguous requests are refused, or forwarded in an unambiguous form.

use std::net::Shutdown;

use test_support::{Server, Upstream};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn ambiguous_requests_are_refused() {
    let upstream = Upstream::with_body("hello");
    let mut server = Server::gateway(&upstream.url());
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        // Obsolete line folding.
        "GET / HTTP/1.1\r\nHost: a\r\nX-Folded: one\r\n two\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        // Ambiguous host or target.
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET http://user:pw@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Null: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Bare: one\rX-Two: two\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX Space: 1\r\n\r\n",
        "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ] {
        let mut client = server.client();
        // Bytes after a refused request must not be read as a request.
        client
            .send(format!("{request}{SMUGGLED}").as_bytes())
            .unwrap();
        client.stream.shutdown(Shutdown::Write).ok();
        if let Ok(response) = client.read() {
            assert!(
                (400..500).contains(&response.status),
                "{request:?}: {response:?}"
            );
        }
    }
    assert_eq!(server.get("/").status, 200);
    let heads: Vec<_> = upstream
        .requests()
        .into_iter()
        .map(|request| request.head)
        .collect();
    let (expected, others): (Vec<_>, Vec<_>) =
        heads.iter().partition(|head| head.starts_with("GET / "));
    assert_eq!(expected.len(), 1, "{heads:?}");
    // TRACE is refused and has no body: the bytes after it are a separate request, which is
    // charged.
    assert!(
        others.len() <= 1 && others.iter().all(|head| head.starts_with("GET /smuggled ")),
        "{others:?}"
    );
    server.assert_healthy();
}

#[test]
fn malformed_chunks_are_not_forwarded() {
    let upstream = Upstream::with_body("hello");
    let mut server = Server::gateway(&upstream.url());
    for chunks in [
        "ZZZ\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
    ] {
        let mut client = server.client();
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client
            .send(format!("{head}{chunks}{SMUGGLED}").as_bytes())
            .unwrap();
        assert_eq!(client.read().unwrap().status, 400, "{chunks:?}");
        assert!(
            client.is_closed_within(test_support::TEST_TIMEOUT),
            "{chunks:?}"
        );
        assert_eq!(client.unread(), 0, "{chunks:?}: a second response");
    }
    assert_eq!(upstream.requests().len(), 0);
    assert_eq!(upstream.connections(), 0);
    server.assert_healthy();
}

#[test]
fn a_malformed_later_chunk_aborts_the_request_to_the_upstream() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let mut server = Server::gateway(&upstream.url());
    let mut client = server.client();
    client
        .send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .unwrap();
    // The upstream has received the first chunk. Its connection is closed instead of ending the
    // body.
    while upstream.connections() == 0 {
        std::thread::yield_now();
    }
    client
        .send(format!("ZZZ\r\n{SMUGGLED}").as_bytes())
        .unwrap();
    assert_eq!(client.read().unwrap().status, 400);
    assert!(client.is_closed_within(test_support::TEST_TIMEOUT));
    upstream.wait_for_closed(1);
    assert_eq!(
        upstream.requests().len(),
        0,
        "the upstream received no complete request"
    );
    server.assert_healthy();
}

/// Both framings: RFC 9112, section 6.3, requires an intermediary that forwards such a request to
/// use the chunks, to remove Content-Length and to close the connection afterwards.
#[test]
fn content_length_beside_chunked_is_removed() {
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
    ] {
        let upstream = Upstream::with_body("hello");
        let mut server = Server::gateway(&upstream.url());
        let mut client = server.client();
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n0\r\n\r\n{SMUGGLED}");
        client.send(request.as_bytes()).unwrap();
        let response = client.read().unwrap();
        assert!(
            client.is_closed_within(test_support::TEST_TIMEOUT),
            "{framing}: {response:?}"
        );
        assert_eq!(client.unread(), 0, "{framing}: a second response");
        let request = upstream.single_request();
        assert_eq!(
            (request.header("Content-Length"), request.body.len()),
            (None, 0)
        );
        assert_eq!(request.header("Transfer-Encoding"), Some("chunked"));
        server.assert_healthy();
    }
}

#[test]
fn a_pipelined_request_is_charged() {
    let upstream = Upstream::with_body("hello");
    let server = Server::gateway(&upstream.url());
    let mut client = server.client();
    client
        .send(
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello{SMUGGLED}")
                .as_bytes(),
        )
        .unwrap();
    assert_eq!(client.read().unwrap().remaining(), 999_999);
    assert_eq!(client.read().unwrap().remaining(), 999_998);
    assert_eq!(upstream.requests().len(), 2);
}
