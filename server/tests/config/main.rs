//! Configuration: flags, environment, file, refusals, and reload.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod convert;
mod environment;
mod file;
mod gateway;
mod refusals;
mod reload;
mod secrets;
mod settings;
