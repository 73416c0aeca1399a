//! Requests whose two readers, we and the upstream, might disagree where they go or where they end.
//! hyper has refused most of those before: conflicting lengths, folded lines, a last coding that is
//! not `chunked`.

use hyper::{
    Request, Version,
    header::{HOST, TRANSFER_ENCODING},
    http::uri::Authority,
};

/// What is wrong with a request that must not go on.
pub(crate) fn fault<B>(request: &Request<B>) -> Option<&'static str> {
    let headers = request.headers();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Some("the only transfer coding that is understood is chunked");
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Some("there is more than one Host"),
        (Some(host), None) if !is_host(host.as_bytes()) => Some("Host is not a host"),
        (None, _)
            if request.version() >= Version::HTTP_11 && request.uri().authority().is_none() =>
        {
            Some("Host is missing")
        }
        _ => None,
    }
}

/// A host and perhaps a port, and nothing else.
fn is_host(text: &[u8]) -> bool {
    Authority::try_from(text).is_ok_and(|host| !host.as_str().contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(headers: &[(&str, &str)]) -> bool {
        let request = headers
            .iter()
            .fold(Request::get("/"), |request, (name, value)| {
                request.header(*name, *value)
            });
        fault(&request.body(()).unwrap()).is_some()
    }

    #[test]
    fn a_request_goes_to_one_host() {
        for host in [
            "localhost",
            "localhost:8000",
            "[::1]:8000",
            "192.0.2.1",
            "xn--nxasmq6b.example",
        ] {
            assert!(!refused(&[("host", host)]), "{host}");
        }
        for host in [
            "",
            "a b",
            "a/b",
            "user@host",
            "a:b:c",
            "a, b",
            "a?b",
            "\u{e9}",
        ] {
            assert!(refused(&[("host", host)]), "{host}");
        }
        assert!(refused(&[]));
        assert!(refused(&[("host", "a"), ("host", "a")]));
    }

    #[test]
    fn chunked_is_the_only_coding() {
        let coded = |codings: &[&'static str]| {
            let codings = codings.iter().map(|coding| ("transfer-encoding", *coding));
            refused(
                &[("host", "a")]
                    .into_iter()
                    .chain(codings)
                    .collect::<Vec<_>>(),
            )
        };
        assert!(!coded(&["chunked"]) && !coded(&["Chunked"]));
        for codings in [
            &["gzip, chunked"][..],
            &["chunked, chunked"],
            &["chunked", "chunked"],
            &["xchunked"],
            &[""],
        ] {
            assert!(coded(codings), "{codings:?}");
        }
    }
}
