//! An actix-web service with a rate limit per client: a burst of ten requests, then one per minute.
//!
//! actix-web is not built on tower, so a middleware of some twenty lines calls the limiter itself
//! and uses the headers and refusals of `tollgate::tower`.
//!
//! Run `cargo run -p tollgate-examples --example actix`, then `curl -i http://127.0.0.1:3000/`
//! repeatedly.

use std::{env, io, net::IpAddr};

use actix_web::{
    App, Error, HttpResponse, HttpServer,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderMap, HeaderName, HeaderValue},
    middleware::{Next, from_fn},
    web,
};
use tollgate::{
    KeyedLimiter, Quota,
    tower::{HeaderStyle, Refusal},
};

async fn limit<B: MessageBody>(
    limiter: web::Data<KeyedLimiter<IpAddr>>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let Some(peer) = request.peer_addr() else {
        // A peer on a Unix socket has no address. A client that cannot be identified must not pass.
        return Ok(request
            .into_response(HttpResponse::InternalServerError().finish())
            .map_into_right_body());
    };
    let decision = limiter.try_acquire(&peer.ip(), 1);
    if decision.is_refused() {
        let (head, text) = Refusal::new(HeaderStyle::XRateLimit)
            .response(&decision, &http::HeaderMap::new())
            .into_parts();
        let mut response = HttpResponse::TooManyRequests().body(text);
        add_headers(&head.headers, response.headers_mut());
        return Ok(request.into_response(response).map_into_right_body());
    }
    let mut response = next.call(request).await?;
    let mut headers = http::HeaderMap::new();
    HeaderStyle::XRateLimit.write(&decision, &mut headers);
    add_headers(&headers, response.headers_mut());
    Ok(response.map_into_left_body())
}

/// Copies headers, since actix-web has header types of its own.
fn add_headers(from: &http::HeaderMap, headers: &mut HeaderMap) {
    for (name, value) in from {
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name.as_str()),
            HeaderValue::from_bytes(value.as_bytes()),
        ) {
            headers.insert(name, value);
        }
    }
}

async fn serve(address: String) -> io::Result<()> {
    // All workers share one limiter.
    let limiter = web::Data::new(KeyedLimiter::<IpAddr>::new(
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
