//! Deployment files, health check, stress tool, k6 script, and services behind the gateway.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod files;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod handover;
mod healthcheck;
mod k6;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod prefork;
mod python_services;
mod stress;
