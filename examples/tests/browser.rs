//! A page of another origin in a real browser, before an axum service with CORS.

use axum::{Router, routing::get};
use http::header::{HeaderName, RETRY_AFTER};
use test_support::browser::Page;
use tollgate::{
    Quota,
    tower::{Key, RateLimitLayer},
};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::axum::Service;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

fn limit() -> RateLimitLayer {
    RateLimitLayer::new(Quota::per_hour(1), Key::header(API_KEY))
}

fn cors(page: &Page) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::exact(page.origin().parse().unwrap()))
        .allow_headers([API_KEY])
        .expose_headers([
            RETRY_AFTER,
            HeaderName::from_static("x-ratelimit-remaining"),
        ])
}

fn url(service: &Service) -> String {
    format!("http://{}/", service.address)
}

#[test]
fn cors_around_the_layer_answers_preflights_and_lets_a_page_read_refusals() {
    let page = Page::start();
    let app = Router::new().route("/", get(|| async { "hello" }));
    let service = Service::start(app.layer(limit()).layer(cors(&page)));
    let notes = page.send_to(&url(&service));
    assert!(
        notes.starts_with("200 wait null left 0; 429 wait 3") && notes.ends_with(" left 0"),
        "{notes}"
    );
}

#[test]
fn cors_inside_the_layer_is_too_late() {
    let page = Page::start();
    let app = Router::new().route("/", get(|| async { "hello" }));
    let service = Service::start(app.layer(cors(&page)).layer(limit()));
    // The preflight has no key.
    assert_eq!(page.send_to(&url(&service)), "blocked; blocked");
}
