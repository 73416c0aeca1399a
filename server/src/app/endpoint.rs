//! What there is to ask for.

use hyper::Method;

use super::{Told, Wants};
use crate::config::UPLOAD_COST;

/// Whom a request is for. HEAD is GET without the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    Root,
    Ping,
    Data,
    Upload,
    Submit,
    Health,
    Metrics,
    Check,
    /// A proxy asks whether the request that it has in hand may pass.
    Auth,
    ShowConfig,
    ChangeConfig,
    UpdateRule,
    /// The client's name, percent-encoded.
    RemoveRule(&'a str),
    /// The upstream of this number.
    Upstream(usize),
    Nothing,
}

impl<'a> Endpoint<'a> {
    #[inline]
    pub(super) fn of(method: &Method, path: &'a str) -> Endpoint<'a> {
        match *method {
            // Some proxies ask with the method of the request in hand.
            _ if path == "/auth" => Endpoint::Auth,
            Method::GET | Method::HEAD => match path {
                "/" => Endpoint::Root,
                "/api/ping" => Endpoint::Ping,
                "/api/data" => Endpoint::Data,
                "/health" => Endpoint::Health,
                "/metrics" => Endpoint::Metrics,
                "/config" => Endpoint::ShowConfig,
                _ => Endpoint::Nothing,
            },
            Method::POST => match path {
                "/api/upload" => Endpoint::Upload,
                "/api/submit" => Endpoint::Submit,
                "/check" => Endpoint::Check,
                "/config" => Endpoint::ChangeConfig,
                "/admin/update-rule" => Endpoint::UpdateRule,
                _ => Endpoint::Nothing,
            },
            Method::DELETE => path
                .strip_prefix("/admin/rule/")
                .map_or(Endpoint::Nothing, Endpoint::RemoveRule),
            _ => Endpoint::Nothing,
        }
    }

    /// What the body is for, when the request may pass.
    pub(super) fn wants(self) -> Wants {
        match self {
            Endpoint::Submit => Wants::Submitted,
            Endpoint::ChangeConfig => Wants::NewDefault,
            Endpoint::UpdateRule => Wants::NewRule,
            Endpoint::Check => Wants::Asked,
            Endpoint::RemoveRule(client_id) => Wants::RuleRemoved(client_id.to_owned()),
            Endpoint::Upstream(number) => Wants::Proxied(number, Told::default()),
            _ => Wants::Nothing,
        }
    }

    /// What it costs where the configuration does not say.
    pub(super) fn standard_cost(self) -> u32 {
        if self == Endpoint::Upload {
            UPLOAD_COST
        } else {
            1
        }
    }
}
