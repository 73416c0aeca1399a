//! An actix-web service behind a limit: the limiter itself in a middleware of a dozen lines, since actix-web is not built on
//! tower. Each client has ten tokens at once, and one a minute.
//!
//! `cargo run --example actix`, then `curl -i http://127.0.0.1:3000/`, some times in a row.

use std::{env, io};

use actix_web::{
    App, Error, HttpResponse, HttpServer,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::RETRY_AFTER,
    middleware::{Next, from_fn},
    web,
};
use tollgate::{KeyedLimiter, Quota};

async fn limit<B: MessageBody>(
    limiter: web::Data<KeyedLimiter>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let Some(peer) = request.peer_addr() else {
        // Over a Unix socket nobody has an address; whoever cannot be told apart does not pass.
        return Ok(request.into_response(HttpResponse::InternalServerError().finish()).map_into_right_body());
    };
    match limiter.try_acquire(&peer.ip(), 1).ok() {
        Ok(_) => Ok(next.call(request).await?.map_into_left_body()),
        Err(refused) => {
            let mut answer = HttpResponse::TooManyRequests();
            if let Some(wait) = refused.retry_after() {
                answer.insert_header((RETRY_AFTER, wait.as_secs() + 1));
            }
            Ok(request.into_response(answer.body(format!("{refused}\n"))).map_into_right_body())
        }
    }
}

async fn serve(address: String) -> io::Result<()> {
    // One limiter for all workers.
    let limiter = web::Data::new(KeyedLimiter::new(Quota::per_hour(60).capacity(10), 100_000));
    let app =
        move || App::new().app_data(limiter.clone()).wrap(from_fn(limit)).route("/", web::get().to(|| async { "hello\n" }));
    let server = HttpServer::new(app).workers(2).bind(address)?;
    for address in server.addrs() {
        println!("Listening on http://{address}");
    }
    server.run().await
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    actix_web::rt::System::new().block_on(serve(address))
}
