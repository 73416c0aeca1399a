//! Request bodies, read with a size limit.

use std::fmt;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    StatusCode,
    body::{Body, Buf},
    header::{CONTENT_TYPE, HeaderValue},
};

use crate::{
    memory::Reservation,
    response::{self, Response},
};

/// Reasons a request body was not read to its end. The connection cannot be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLarge,
    Timeout,
    /// The connection failed, or the body was malformed.
    Interrupted,
    /// The memory that the connection, or all connections, may hold does not suffice for the body.
    OutOfMemory,
}

impl BodyError {
    /// Replaces status and body of a response that required the body, and keeps its headers.
    ///
    /// A response that already refuses the request stays unchanged. 404 is replaced as well,
    /// because it is the regular response of an unknown endpoint.
    pub(crate) fn apply(self, mut response: Response) -> Response {
        let status = response.status();
        if !status.is_success() && status != StatusCode::NOT_FOUND || response::is_grpc(&response) {
            return response;
        }
        let (status, body) = match self {
            BodyError::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                r#"{"error": "Payload Too Large"}"#,
            ),
            BodyError::Timeout => (
                StatusCode::REQUEST_TIMEOUT,
                r#"{"error": "Request Timeout"}"#,
            ),
            BodyError::Interrupted => (StatusCode::BAD_REQUEST, r#"{"error": "Bad Request"}"#),
            BodyError::OutOfMemory => (
                StatusCode::SERVICE_UNAVAILABLE,
                r#"{"error": "Service Unavailable"}"#,
            ),
        };
        *response.status_mut() = status;
        *response.body_mut() = Full::new(Bytes::from_static(body.as_bytes()));
        // The response to a head whose handler provides the whole response has no headers.
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BodyError::TooLarge => "request body too large",
            BodyError::Timeout => "request body timed out",
            BodyError::Interrupted => "request body interrupted",
            BodyError::OutOfMemory => "request body exceeds the memory of the connection",
        })
    }
}

impl std::error::Error for BodyError {}

/// Reads a body of at most `max_bytes`. Without `memory` to keep it in, the data is discarded and
/// the result is empty.
pub(crate) async fn read<B: Body + Unpin>(
    mut body: B,
    max_bytes: usize,
    mut memory: Option<&mut Reservation>,
) -> Result<Vec<u8>, BodyError> {
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(BodyError::TooLarge);
    }
    let (mut data, mut length) = (Vec::new(), 0_usize);
    // A body of known length has ended with its last byte: no further frame is awaited.
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        let Ok(mut chunk) = frame.map_err(|_| BodyError::Interrupted)?.into_data() else {
            continue;
        };
        length = length.saturating_add(chunk.remaining());
        if length > max_bytes {
            return Err(BodyError::TooLarge);
        }
        let Some(memory) = memory.as_deref_mut() else {
            continue;
        };
        if !memory.try_grow(chunk.remaining()) {
            return Err(BodyError::OutOfMemory);
        }
        while chunk.has_remaining() {
            let count = chunk.chunk().len();
            data.extend_from_slice(chunk.chunk());
            chunk.advance(count);
        }
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_json_also_when_the_response_to_the_head_is_empty() {
        let applied = BodyError::TooLarge.apply(Response::default());
        assert_eq!(applied.status(), 413);
        assert_eq!(applied.headers()[CONTENT_TYPE], "application/json");
    }

    #[test]
    fn a_refusal_stays_unchanged() {
        for (status, expected) in [(200, 413), (404, 413), (400, 400), (429, 429), (503, 503)] {
            let status = StatusCode::from_u16(status).unwrap();
            let applied = BodyError::TooLarge.apply(response::fixed(status, "{}"));
            assert_eq!(applied.status(), expected);
        }
    }
}
