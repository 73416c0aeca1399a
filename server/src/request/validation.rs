//! Validation of requests to a gateway, against request smuggling.
//!
//! Server and upstream must agree on a request's target and on its end. hyper rejects most
//! ambiguous requests already: conflicting lengths, folded lines, a last transfer coding other than
//! `chunked`.

use hyper::{
    Request, Version,
    header::{HOST, TRANSFER_ENCODING},
    http::uri::Authority,
};

/// Rejects a request that an upstream might parse differently. An error is the message for the
/// client.
#[inline]
pub(crate) fn validate<B>(request: &Request<B>) -> Result<(), &'static str> {
    let headers = request.headers();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err("Transfer-Encoding: expected chunked");
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Err("Host: expected one value, got several"),
        (Some(host), None) if !is_host(host.as_bytes()) => {
            Err("Host: expected a host, or a host with a port")
        }
        (None, _)
            if request.version() >= Version::HTTP_11 && request.uri().authority().is_none() =>
        {
            Err("Host: missing")
        }
        _ => Ok(()),
    }
}

/// Returns true for a host with an optional port, without user info.
fn is_host(text: &[u8]) -> bool {
    Authority::try_from(text).is_ok_and(|host| !host.as_str().contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_rejected(headers: &[(&str, &str)]) -> bool {
        let request = headers
            .iter()
            .fold(Request::get("/"), |request, (name, value)| {
                request.header(*name, *value)
            });
        validate(&request.body(()).unwrap()).is_err()
    }

    #[test]
    fn host_is_a_single_valid_authority() {
        for host in [
            "localhost",
            "localhost:8000",
            "[::1]:8000",
            "192.0.2.1",
            "xn--nxasmq6b.example",
        ] {
            assert!(!is_rejected(&[("host", host)]), "{host}");
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
            assert!(is_rejected(&[("host", host)]), "{host}");
        }
        assert!(is_rejected(&[]));
        assert!(is_rejected(&[("host", "a"), ("host", "a")]));
    }

    #[test]
    fn chunked_is_the_only_transfer_coding() {
        let coded = |codings: &[&'static str]| {
            let codings = codings.iter().map(|coding| ("transfer-encoding", *coding));
            is_rejected(
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
