//! Handler of `GET /health`.

use hyper::StatusCode;

use crate::{
    app::App,
    response::{self, Response},
};

/// Reports that the process serves requests, and the state of Redis if it is used. The status is
/// 200 also while Redis is down: the process keeps serving by its fallback policy, so it must not
/// be taken out of service.
pub(crate) fn response(app: &App) -> Response {
    let body = match app.redis_is_up() {
        None => r#"{"status": "ok", "backend": "memory"}"#,
        Some(true) => r#"{"status": "ok", "backend": "redis", "redis": "up"}"#,
        Some(false) => r#"{"status": "ok", "backend": "redis", "redis": "down"}"#,
    };
    response::fixed(StatusCode::OK, body)
}
