//! Handlers of the endpoints that the server itself responds to.

pub(crate) mod admin;
pub(crate) mod check;
mod check_limits;
mod decision_view;
pub(crate) mod demo;
pub(crate) mod health;
pub(crate) mod scrape;

use std::pin::Pin;

use crate::{
    app::App,
    endpoint::{self, Endpoint},
    request::client_id::OwnedClientId,
    response::Response,
};

/// Maximum size of a request body to the admin API and `POST /check`.
const MAX_ADMIN_BYTES: usize = 64 * 1024;

/// Response of a handler.
pub(crate) enum HandlerResponse<'a> {
    Ready(Response),
    /// Boxed: every request with a body pays for moving this.
    Pending(Pin<Box<dyn Future<Output = Response> + Send + 'a>>),
}

/// Handler that needs the request body, or has to be awaited and runs once the body has been read.
#[derive(Clone, Debug)]
pub(crate) enum BodyHandler {
    /// Echoes the body.
    Submit,
    UpdateConfig,
    UpdateRule,
    /// Removes the rule of a client, whose id is percent-encoded. The body is ignored.
    RemoveRule(String),
    /// Sets the quota of the limit with this name.
    UpdateLimit(String),
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
            Endpoint::UpdateLimit => {
                let name = endpoint::limit_name(path)?;
                Some(BodyHandler::UpdateLimit(name.to_owned()))
            }
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
            BodyHandler::UpdateConfig
            | BodyHandler::UpdateRule
            | BodyHandler::UpdateLimit(_)
            | BodyHandler::Check(_) => MAX_ADMIN_BYTES.min(limit),
            BodyHandler::Metrics | BodyHandler::Submit | BodyHandler::RemoveRule(_) => limit,
        }
    }

    /// Returns true if the handler uses the body.
    pub(crate) fn needs_data(&self) -> bool {
        !matches!(self, BodyHandler::Metrics | BodyHandler::RemoveRule(_))
    }

    /// Responds once the body has been read. `response` is the response to the request head.
    pub(crate) fn respond<'a>(
        self,
        app: &'a App,
        response: Response,
        data: &'a [u8],
    ) -> HandlerResponse<'a> {
        HandlerResponse::Pending(match self {
            BodyHandler::Submit => return HandlerResponse::Ready(demo::submit(response, data)),
            BodyHandler::Check(client) => match check::respond_now(app, data) {
                Some(response) => return HandlerResponse::Ready(response),
                None => Box::pin(async move { check::response(app, client.as_ref(), data).await }),
            },
            BodyHandler::Metrics => Box::pin(scrape::response(app)),
            BodyHandler::UpdateConfig => Box::pin(admin::update_config(app, data)),
            BodyHandler::UpdateRule => Box::pin(admin::update_rule(app, data)),
            BodyHandler::UpdateLimit(name) => {
                Box::pin(async move { admin::update_limit(app, &name, data).await })
            }
            BodyHandler::RemoveRule(client_id) => {
                Box::pin(async move { admin::remove_rule(app, &client_id).await })
            }
        })
    }
}
