//! What is there for those who may pass.

use bytes::Bytes;
use hyper::{HeaderMap, StatusCode};

use super::{App, Caller, endpoint::Endpoint};
use crate::{answer, client::Id};

impl App {
    pub(super) fn content(
        &self,
        endpoint: Endpoint<'_>,
        headers: &HeaderMap,
        caller: &Caller,
        id: Id<'_>,
    ) -> (StatusCode, Bytes) {
        let text = match endpoint {
            Endpoint::Root => {
                let address = match id {
                    Id::Address { address, .. } => address,
                    Id::Key(_) | Id::Asked(_) => self.identify.address(caller.peer, headers),
                };
                let prepared = (address == caller.peer.address).then(|| caller.granted.clone());
                return (
                    StatusCode::OK,
                    prepared.unwrap_or_else(|| answer::granted(address)),
                );
            }
            Endpoint::Ping => r#"{"message": "pong"}"#,
            Endpoint::Data => r#"{"message": "Here is your data", "data": [1, 2, 3]}"#,
            Endpoint::Upload => r#"{"message": "Upload accepted"}"#,
            Endpoint::Auth => r#"{"message": "Access granted"}"#,
            Endpoint::Submit | Endpoint::Upstream(_) => "",
            _ => {
                return (
                    StatusCode::NOT_FOUND,
                    Bytes::from_static(br#"{"error": "Not Found"}"#),
                );
            }
        };
        (StatusCode::OK, Bytes::from_static(text.as_bytes()))
    }
}
