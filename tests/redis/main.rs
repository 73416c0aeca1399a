//! Limits in Redis: decisions, leases, outages, and topologies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[macro_use]
mod waiting;

mod acquire;
mod acquire_several;
mod buckets;
mod clock_steps;
mod flood;
mod lease_outages;
mod leases;
mod log;
mod network;
mod outages;
mod own_rustls;
mod pauses;
mod rights;
mod settings;
mod several;
#[cfg(feature = "redis-tls")]
mod tls;
mod topologies;
