//! Handlers of the demo endpoints, and of `/auth`.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, StatusCode};

use crate::{
    app::{App, Caller},
    endpoint::Endpoint,
    request::client_id::ClientId,
    response::{self, Response},
};

/// Returns status and body of the response to an allowed request. `client` is `None` for an exempt
/// request.
#[inline]
pub(crate) fn content(
    app: &App,
    endpoint: Endpoint,
    headers: &HeaderMap,
    caller: &Caller,
    client: Option<ClientId<'_>>,
) -> (StatusCode, Bytes) {
    let text = match endpoint {
        Endpoint::Root => {
            let address = match client {
                Some(ClientId::Address { address, .. }) => address,
                Some(ClientId::Key(_) | ClientId::Parts(_) | ClientId::CheckKey(_)) | None => {
                    app.clients.address(caller.peer, headers)
                }
            };
            let prepared = (address == caller.peer.address).then(|| caller.granted.clone());
            return (
                StatusCode::OK,
                prepared.unwrap_or_else(|| response::granted(address)),
            );
        }
        Endpoint::Ping => r#"{"message": "pong"}"#,
        Endpoint::Data => r#"{"message": "Here is your data", "data": [1, 2, 3]}"#,
        Endpoint::Upload => r#"{"message": "Upload accepted"}"#,
        Endpoint::Auth => r#"{"message": "Access granted"}"#,
        // The body is the echo, or the upstream's.
        Endpoint::Submit | Endpoint::Upstream(_) => "",
        _ => {
            return (
                StatusCode::NOT_FOUND,
                Bytes::from_static(response::NOT_FOUND),
            );
        }
    };
    (StatusCode::OK, Bytes::from_static(text.as_bytes()))
}

/// `POST /api/submit`: echoes the request body.
pub(super) fn submit(mut response: Response, data: &[u8]) -> Response {
    *response.body_mut() = Full::new(response::submitted(data));
    response
}
