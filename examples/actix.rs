//! An actix-web service behind a limit: the limiter itself in a middleware of some twenty lines,
//! since actix-web is not built on tower, and the layer's headers and refusals. Each client has ten
//! tokens at once, and one a minute.
//!
//! `cargo run --features tower --example actix`, then `curl -i http://127.0.0.1:3000/`, some times
//! in a row.

use std::{env, io};

use actix_web::{
    App, Error, HttpResponse, HttpServer,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderMap, HeaderName, HeaderValue},
    middleware::{Next, from_fn},
    web,
};
use tollgate::{KeyedLimiter, Quota, tower::HeaderStyle};

async fn limit<B: MessageBody>(
    limiter: web::Data<KeyedLimiter>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let Some(peer) = request.peer_addr() else {
        // Over a Unix socket nobody has an address; whoever cannot be told apart does not pass.
        return Ok(request
            .into_response(HttpResponse::InternalServerError().finish())
            .map_into_right_body());
    };
    let decision = limiter.try_acquire(&peer.ip(), 1);
    if decision.is_refused() {
        let (told, text) = HeaderStyle::XRateLimit
            .refuse_http(&decision, &http::HeaderMap::new())
            .into_parts();
        let mut answer = HttpResponse::TooManyRequests().body(text);
        add(&told.headers, answer.headers_mut());
        return Ok(request.into_response(answer).map_into_right_body());
    }
    let mut answer = next.call(request).await?;
    let mut told = http::HeaderMap::new();
    HeaderStyle::XRateLimit.write(&decision, &mut told);
    add(&told, answer.headers_mut());
    Ok(answer.map_into_left_body())
}

/// actix-web has its own types of headers.
fn add(told: &http::HeaderMap, headers: &mut HeaderMap) {
    for (name, value) in told {
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name.as_str()),
            HeaderValue::from_bytes(value.as_bytes()),
        ) {
            headers.insert(name, value);
        }
    }
}

async fn serve(address: String) -> io::Result<()> {
    // One limiter for all workers.
    let limiter = web::Data::new(KeyedLimiter::new(
        Quota::per_hour(60).with_capacity(10),
        100_000,
    ));
    let app = move || {
        App::new()
            .app_data(limiter.clone())
            .wrap(from_fn(limit))
            .route("/", web::get().to(|| async { "hello\n" }))
    };
    let server = HttpServer::new(app).workers(2).bind(address)?;
    for address in server.addrs() {
        println!("Listening on http://{address}");
    }
    server.run().await
}

fn main() -> io::Result<()> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    actix_web::rt::System::new().block_on(serve(address))
}
