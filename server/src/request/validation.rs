//! Validation of requests to a gateway, against request smuggling.
//!
//! Server and upstream must agree on a request's target and on its end. hyper rejects most
//! ambiguous requests already: conflicting lengths, folded lines, a last transfer coding other than
//! `chunked`.
//!
//! The upstream must also receive the headers that this server decided by, which a client could
//! remove on the way by naming them in `Connection`.

use hyper::{
    Request, Version,
    header::{CONNECTION, HOST, TRANSFER_ENCODING},
    http::uri::Authority,
};

use super::headers::elements;

/// Rejects a request that an upstream might parse differently. `decides_by` returns true for the
/// name of a header that this server decides by, in any case. An error is the message for the
/// client.
#[inline]
pub(crate) fn validate<B>(
    request: &Request<B>,
    decides_by: impl Fn(&[u8]) -> bool,
) -> Result<(), &'static str> {
    let headers = request.headers();
    if let Some(authority) = request.uri().authority()
        && authority.as_str().contains('@')
    {
        return Err("request target: expected a host without user info");
    }
    // One pass: comparing the few names of a request costs less than hashing three.
    let (mut coding, mut host) = (None, None);
    let (mut coding_count, mut host_count) = (0, 0);
    for (name, value) in headers {
        if *name == HOST {
            host_count += 1;
            host = Some(value);
        } else if *name == CONNECTION {
            if elements(value).any(&decides_by) {
                return Err("Connection: expected no header that identifies the client");
            }
        } else if *name == TRANSFER_ENCODING {
            coding_count += 1;
            coding = Some(value);
        }
    }
    if let Some(coding) = coding
        && (coding_count > 1 || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err("Transfer-Encoding: expected chunked");
    }
    match (host, host_count) {
        (Some(_), 2..) => Err("Host: expected one value, got several"),
        (Some(host), _) if !is_host(host.as_bytes()) => {
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
        validate(&request.body(()).unwrap(), |name| {
            name.eq_ignore_ascii_case(b"x-api-key")
        })
        .is_err()
    }

    #[test]
    fn connection_names_no_header_that_decides() {
        for value in ["close", "keep-alive, Upgrade", "", "x-api-key2"] {
            assert!(
                !is_rejected(&[("host", "a"), ("connection", value)]),
                "{value}"
            );
        }
        for value in ["X-API-Key", "close, x-api-key", "close,x-api-key ,te"] {
            assert!(
                is_rejected(&[("host", "a"), ("connection", value)]),
                "{value}"
            );
        }
        let lines = [
            ("host", "a"),
            ("connection", "close"),
            ("connection", "X-Api-Key"),
        ];
        assert!(is_rejected(&lines));
    }

    #[test]
    fn target_has_no_user_info() {
        for (target, is_rejected) in [
            ("http://host/", false),
            ("http://user@host/", true),
            ("http://user:pw@host/", true),
            ("http://@host/", true),
            ("/user:pw@host", false),
        ] {
            let request = Request::get(target)
                .header("host", "host")
                .body(())
                .unwrap();
            assert_eq!(
                validate(&request, |_| false).is_err(),
                is_rejected,
                "{target}"
            );
        }
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
