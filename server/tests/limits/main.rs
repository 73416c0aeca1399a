//! Limits per client, API key and route, and `/auth`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod api_keys;
mod auth;
mod auth_caddy;
mod clients;
mod convert;
mod delay;
mod ipv6;
mod jwt;
mod routes;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod state;
