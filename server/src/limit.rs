//! Limits: limiters in memory or in Redis, routes and their prices, and the charge of a request.

mod charge;
mod config;
mod delay;
mod failures;
mod limiter;
mod memory;
mod price;
mod pricing;
mod redis;
mod route_limits;
mod routes;

pub(crate) use self::{
    charge::{Charge, PendingCharge, Policy},
    config::{ConfiguredLimits, DefaultUpdate, EffectiveConfig, QuotaView, UpdateError},
    delay::{Delay, Delayed},
    failures::FailureLimit,
    limiter::Limiter,
    pricing::Pricing,
    route_limits::RouteLimits,
};
