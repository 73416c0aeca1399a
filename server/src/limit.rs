//! Limits: limiters in memory or in Redis, routes and their prices, and the charge of a request.

mod ban;
mod charge;
mod config;
mod delay;
mod failures;
mod limiter;
mod memory;
mod named_limits;
mod policies;
mod policy_charge;
mod policy_decision;
mod price;
mod pricing;
mod redis;
mod routes;
mod rule_names;
mod state;

pub(crate) use self::{
    charge::{Charge, PendingCharge},
    config::{ConfiguredLimits, DefaultUpdate, EffectiveConfig, QuotaView, UpdateError},
    delay::{Delay, Delayed},
    failures::FailureLimit,
    limiter::Limiter,
    named_limits::{Kind, NamedLimits},
    policies::{
        AppliedLimits, ApplyError, Effect, Explained, Explanation, NamedLimit, Policies,
        TooManyAtOnce, unknown_limit,
    },
    policy_charge::{PolicyCharge, TooManyLimits},
    policy_decision::PolicyDecision,
    price::Price,
    pricing::Pricing,
    state::StateFile,
};
