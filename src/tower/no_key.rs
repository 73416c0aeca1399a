//! Response to a request without a key, which must not pass.

use http::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};

use super::{
    grpc::{self, GrpcStatus},
    key_error::KeyError,
    media_type::JSON,
};

/// Builds the response to a request with the given headers.
pub(super) fn response(error: KeyError, request: &HeaderMap) -> Response<String> {
    let (status, grpc_status, title, message) = match error {
        KeyError::UnknownPeer => (
            StatusCode::INTERNAL_SERVER_ERROR,
            GrpcStatus::Internal,
            "Internal Server Error",
            "the rate limiter found no peer address: expected the extension that RateLimitLayer::peer_from reads, or a PeerAddr",
        ),
        KeyError::ConflictingHeaders => (
            StatusCode::BAD_REQUEST,
            GrpcStatus::InvalidArgument,
            "Bad Request",
            "X-Forwarded-For and Forwarded name different clients",
        ),
        KeyError::NoKey => (
            StatusCode::UNAUTHORIZED,
            GrpcStatus::Unauthenticated,
            "Unauthorized",
            "the rate limiter found no valid key in the request",
        ),
    };
    if grpc::is_grpc(request) {
        return grpc::response(grpc_status, message);
    }
    let mut response = Response::new(format!(r#"{{"error": "{title}", "message": "{message}"}}"#));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}
