//! Handlers of the endpoints that the server itself responds to.

pub(crate) mod admin;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod health;
pub(crate) mod metrics;

use crate::{
    app::App,
    endpoint::{self, Endpoint},
    request::client_id::OwnedClientId,
    response::Response,
};

/// Maximum size of a request body to the admin API and `POST /check`.
const MAX_ADMIN_BYTES: usize = 64 * 1024;

/// Handler that needs the request body, or runs once the body has been read.
#[derive(Clone, Debug)]
pub(crate) enum BodyHandler {
    /// Echoes the body.
    Submit,
    UpdateConfig,
    UpdateRule,
    /// Removes the rule of a client, whose id is percent-encoded. The body is ignored.
    RemoveRule(String),
    /// The client to which unknown API keys are charged; `None`: the request has shown that it may
    /// ask.
    Check(Option<OwnedClientId>),
    /// Reports the metrics. The body is ignored.
    Metrics,
}

impl BodyHandler {
    /// Returns the handler of an endpoint, or `None` if its response does not depend on the body.
    #[inline]
    pub(crate) fn of(endpoint: Endpoint, path: &str) -> Option<BodyHandler> {
        match endpoint {
            Endpoint::Submit => Some(BodyHandler::Submit),
            Endpoint::UpdateConfig => Some(BodyHandler::UpdateConfig),
            Endpoint::UpdateRule => Some(BodyHandler::UpdateRule),
            Endpoint::Check => Some(BodyHandler::Check(None)),
            Endpoint::Metrics => Some(BodyHandler::Metrics),
            Endpoint::RemoveRule => {
                let client_id = endpoint::rule_client_id(path)?;
                Some(BodyHandler::RemoveRule(client_id.to_owned()))
            }
            _ => None,
        }
    }

    /// Returns the maximum size of the body in bytes, where `limit` is the configured one.
    pub(crate) fn max_body_bytes(&self, limit: usize) -> usize {
        match self {
            BodyHandler::UpdateConfig | BodyHandler::UpdateRule | BodyHandler::Check(_) => {
                MAX_ADMIN_BYTES.min(limit)
            }
            BodyHandler::Submit | BodyHandler::RemoveRule(_) | BodyHandler::Metrics => limit,
        }
    }

    /// Returns true if the handler uses the body.
    pub(crate) fn needs_data(&self) -> bool {
        !matches!(self, BodyHandler::RemoveRule(_) | BodyHandler::Metrics)
    }

    /// Responds once the body has been read. `response` is the response to the request head.
    pub(crate) async fn respond(self, app: &App, response: Response, data: &[u8]) -> Response {
        match self {
            BodyHandler::Submit => demo::submit(response, data),
            BodyHandler::UpdateConfig => admin::update_config(app, data).await,
            BodyHandler::UpdateRule => admin::update_rule(app, data).await,
            BodyHandler::RemoveRule(client_id) => admin::remove_rule(app, &client_id).await,
            BodyHandler::Check(client) => check::response(app, client.as_ref(), data).await,
            BodyHandler::Metrics => metrics::response(app).await,
        }
    }
}
