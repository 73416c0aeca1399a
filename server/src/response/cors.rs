//! CORS: headers that let the pages of other origins read responses, and responses to preflights.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Body,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
        HeaderName, HeaderValue, ORIGIN, VARY,
    },
};
use tollgate::tower::HeaderStyle;

use crate::{
    config,
    values::{Origin, Preflight},
};

/// Request headers by which a preflight is recognized.
pub(crate) const PREFLIGHT_HEADERS: [HeaderName; 2] = [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD];

/// Policy for cross-origin requests.
#[derive(Debug)]
pub(crate) struct Cors {
    config: config::Cors,
    /// Names of the rate limit headers, which a page may read.
    exposed: HeaderValue,
}

/// CORS headers of one response.
#[derive(Clone, Debug)]
pub(crate) struct CorsHeaders {
    cors: Arc<Cors>,
    /// Value of `Access-Control-Allow-Origin`; `None`: the request has no allowed origin.
    origin: Option<HeaderValue>,
}

impl Cors {
    pub(crate) fn new(config: config::Cors, style: HeaderStyle) -> Arc<Cors> {
        let exposed = match style {
            HeaderStyle::Draft11 => {
                "Retry-After, RateLimit, RateLimit-Policy, X-RateLimit-Without-Redis"
            }
            HeaderStyle::Both => {
                "Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit, RateLimit-Policy, X-RateLimit-Without-Redis"
            }
            HeaderStyle::RetryAfter => "Retry-After, X-RateLimit-Without-Redis",
            _ => {
                "Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-RateLimit-Without-Redis"
            }
        };
        Arc::new(Cors {
            config,
            exposed: HeaderValue::from_static(exposed),
        })
    }

    /// Returns the headers of the response to a request.
    pub(crate) fn headers(self: &Arc<Cors>, request: &HeaderMap) -> CorsHeaders {
        CorsHeaders {
            cors: Arc::clone(self),
            origin: self.allowed_origin(request),
        }
    }

    /// Returns true for a preflight of an allowed origin: a request that needs no API key, since a
    /// browser sends none. A body would make it another request.
    pub(crate) fn is_preflight<B: Body>(&self, method: &Method, request: &Request<B>) -> bool {
        *method == Method::OPTIONS
            && request
                .headers()
                .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            && self.allowed_origin(request.headers()).is_some()
            && request.body().is_end_stream()
    }

    /// Returns true if the server itself responds to preflights.
    pub(crate) fn answers(&self) -> bool {
        self.config.preflight == Preflight::Answer
    }

    /// Response to a preflight, which allows the requested method and headers.
    pub(crate) fn preflight_response(&self, request: &HeaderMap) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        for (requested, allowed) in [
            (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
            (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
        ] {
            if let Some(value) = request.get(&requested) {
                headers.insert(allowed, value.clone());
            }
            headers.append(VARY, requested.into());
        }
        let max_age = self.config.max_age.as_secs();
        headers.insert(ACCESS_CONTROL_MAX_AGE, max_age.into());
        response
    }

    fn allowed_origin(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let mut origins = request.get_all(ORIGIN).iter();
        let (origin, None) = (origins.next()?, origins.next()) else {
            return None;
        };
        self.config
            .origins
            .iter()
            .find_map(|allowed| match allowed {
                Origin::Any => Some(HeaderValue::from_static("*")),
                Origin::Exact(allowed) => (origin == allowed.as_str()).then(|| origin.clone()),
            })
    }
}

impl CorsHeaders {
    /// Writes the headers of a response of this server.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        if let Some(origin) = &self.origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            if self.cors.config.credentials {
                let allowed = HeaderValue::from_static("true");
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, allowed);
            }
            headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, self.cors.exposed.clone());
        }
        // A cache must not send the response to another origin.
        if !self.cors.config.origins.contains(&Origin::Any) {
            headers.append(VARY, ORIGIN.into());
        }
    }

    /// Writes the headers of a response of an upstream. An upstream that handles CORS itself allows
    /// the origin, and only the rate limit headers have to be exposed.
    pub(crate) fn write_upstream(&self, headers: &mut HeaderMap) {
        if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            if self.origin.is_some() {
                headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, self.cors.exposed.clone());
            }
        } else if self.cors.answers() {
            self.write(headers);
        }
    }
}
