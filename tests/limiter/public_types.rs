//! Every public type can be sent to another thread, shared between threads, and printed.

use std::{convert::Infallible, error::Error, fmt::Debug};

use axum::body::Body;
use http::{Request, Response};
use tollgate::{
    Bucket, BuildError, Decision, DecisionSource, DefaultHashBuilder, DefaultHasher, KeyedLimiter,
    KeyedLimiterBuilder, KeyedStats, ManualClock, Outcome, Quota, QuotaError, RedisError,
    RedisFallback, RedisLimiter, RedisLimiterBuilder, RedisStats, Refused, SharedDecision,
    WhenFull,
    tower::{
        ConflictingHeaders, HeaderKey, HeaderStyle, Ipv6Prefix, Key, PeerAddr, RateLimit,
        RateLimitLayer, Refusal, ResponseBody, ResponseFuture, TrustedProxies,
    },
};
use tower::util::BoxCloneSyncService;

type Service = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

fn plain<T: Send + Sync + Debug + 'static>() {}

fn error<T: Error + Send + Sync + Clone + PartialEq + 'static>() {}

/// The future holds a service's future, which need not be `Sync`.
fn future<T: Send + Debug>() {}

#[test]
fn public_types_are_send_sync_and_debug() {
    plain::<(Bucket, Quota, Decision, Outcome, Refused)>();
    plain::<(
        KeyedLimiter,
        KeyedLimiterBuilder,
        DefaultHashBuilder,
        DefaultHasher,
        WhenFull,
        KeyedStats,
        ManualClock,
    )>();
    plain::<(
        RedisLimiter,
        RedisLimiterBuilder,
        RedisFallback,
        RedisStats,
        SharedDecision,
        DecisionSource,
    )>();
    plain::<(
        RateLimitLayer,
        RateLimit<Service>,
        Key,
        HeaderKey,
        HeaderStyle,
        Refusal,
        Ipv6Prefix,
        PeerAddr,
        TrustedProxies,
        ResponseBody<String>,
    )>();
    future::<ResponseFuture<Service, Body>>();
    error::<QuotaError>();
    error::<BuildError>();
    error::<ConflictingHeaders>();
    error::<RedisError>();
    let _: &dyn Fn(Refused) -> Box<dyn Error + Send + Sync> = &|refused| refused.into();
}
