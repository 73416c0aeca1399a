//! Requests that two servers might read in two ways: the upstream never sees them, or only in one.

use std::net::Shutdown;

use test_support::{Server, Upstream};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_request_of_two_readings_is_refused() {
    let upstream = Upstream::saying("hello");
    let mut server = Server::gateway(&upstream.url());
    for shape in [
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
        // Where it goes.
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
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
        // What is behind a request that was refused is nobody's request.
        client
            .send(format!("{shape}{SMUGGLED}").as_bytes())
            .unwrap();
        client.stream.shutdown(Shutdown::Write).ok();
        if let Ok(response) = client.read() {
            assert!(
                (400..500).contains(&response.status),
                "{shape:?}: {response:?}"
            );
        }
    }
    assert_eq!(server.get("/").status, 200);
    let seen: Vec<_> = upstream
        .requests()
        .into_iter()
        .map(|seen| seen.head)
        .collect();
    let (ours, others): (Vec<_>, Vec<_>) = seen.iter().partition(|head| head.starts_with("GET / "));
    assert_eq!(ours.len(), 1, "{seen:?}");
    // TRACE is refused and has no body: what follows it is a request of its own, and counted as
    // one.
    assert!(
        others.len() <= 1 && others.iter().all(|head| head.starts_with("GET /smuggled ")),
        "{others:?}"
    );
    server.assert_healthy();
}

#[test]
fn bad_chunks_never_reach_the_upstream() {
    let upstream = Upstream::saying("hello");
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
            client.is_closed_within(test_support::PATIENCE),
            "{chunks:?}"
        );
        assert_eq!(client.unread(), 0, "{chunks:?}: a second answer");
    }
    assert_eq!(upstream.requests().len(), 0);
    assert_eq!(upstream.connections(), 0);
    server.assert_healthy();
}

#[test]
fn chunks_that_break_later_break_the_request_to_the_upstream() {
    let upstream = Upstream::start(|connection| {
        connection.request()?;
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let mut server = Server::gateway(&upstream.url());
    let mut client = server.client();
    client
        .send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .unwrap();
    // The upstream has the first chunk, and the end never comes: it is cut off in place of that.
    while upstream.connections() == 0 {
        std::thread::yield_now();
    }
    client
        .send(format!("ZZZ\r\n{SMUGGLED}").as_bytes())
        .unwrap();
    assert_eq!(client.read().unwrap().status, 400);
    assert!(client.is_closed_within(test_support::PATIENCE));
    upstream.wait_for_ends(1);
    assert_eq!(upstream.requests().len(), 0, "no whole request came");
    server.assert_healthy();
}

/// Both lengths: what RFC 9112 (6.3) asks of an intermediary that goes on with it. Chunks count,
/// the length is dropped, and nothing that stands behind is ever read.
#[test]
fn a_length_beside_chunks_does_not_go_on() {
    for lengths in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
    ] {
        let upstream = Upstream::saying("hello");
        let mut server = Server::gateway(&upstream.url());
        let mut client = server.client();
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{lengths}\r\n\r\n0\r\n\r\n{SMUGGLED}");
        client.send(request.as_bytes()).unwrap();
        let response = client.read().unwrap();
        assert!(
            client.is_closed_within(test_support::PATIENCE),
            "{lengths}: {response:?}"
        );
        assert_eq!(client.unread(), 0, "{lengths}: a second answer");
        let seen = upstream.only();
        assert_eq!((seen.header("Content-Length"), seen.body.len()), (None, 0));
        assert_eq!(seen.header("Transfer-Encoding"), Some("chunked"));
        server.assert_healthy();
    }
}

#[test]
fn a_second_request_in_the_same_packet_is_counted_too() {
    let upstream = Upstream::saying("hello");
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
