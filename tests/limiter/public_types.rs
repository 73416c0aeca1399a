//! Every public type can be sent to another thread, shared between threads, and printed.

use std::{convert::Infallible, error::Error, fmt::Debug};

use axum::body::Body;
use http::{Request, Response};
use tollgate::{
    Bucket, BuildError, Clock, Decision, DecisionSource, DecisionView, DefaultHashBuilder,
    DefaultHasher, KeyedLimiter, KeyedLimiterBuilder, KeyedStats, ManualClock, Outcome, Quota,
    QuotaError, RedisError, RedisFallback, RedisLimiter, RedisLimiterBuilder, RedisStats,
    RefundError, Refused, TokioClock, TooManyPauses, WhenFull,
    io::{Limited, LimitedBody, SharedBucket},
    tower::{
        ConflictingHeaders, HeaderKey, HeaderStyle, Ipv6Prefix, Key, KeyMismatch, PeerAddr,
        PolicyHeaders, RateLimit, RateLimitLayer, Refusal, RequestKey, ResponseBody,
        ResponseFuture, TrustedProxies,
    },
};
use tower::util::BoxCloneSyncService;

type Service = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

fn plain<T: Send + Sync + Debug + 'static>() {}

fn error<T: Error + Send + Sync + Clone + PartialEq + 'static>() {}

/// The future holds a service's future, which need not be `Sync`.
fn future<T: Send + Debug>() {}

#[cfg(feature = "futures")]
#[test]
fn streams_and_sinks_are_send_sync_and_debug() {
    use futures_util::{sink, stream};
    use tollgate::io::{LimitedSink, LimitedStream};

    plain::<(
        LimitedStream<stream::Empty<u8>>,
        LimitedSink<sink::Drain<u8>, u8>,
    )>();
}

#[test]
fn public_types_are_send_sync_and_debug() {
    plain::<(Bucket, Quota, Decision, DecisionView, Outcome, Refused)>();
    plain::<RefundError>();
    plain::<(Limited<Vec<u8>>, LimitedBody<String>, SharedBucket)>();
    plain::<TokioClock>();
    error::<TooManyPauses>();
    plain::<(
        KeyedLimiter<str>,
        KeyedLimiterBuilder<std::cell::Cell<u8>>,
        DefaultHashBuilder,
        DefaultHasher,
        WhenFull,
        KeyedStats,
        ManualClock,
        Clock,
    )>();
    plain::<(
        RedisLimiter,
        RedisLimiterBuilder,
        RedisFallback,
        RedisStats,
        DecisionSource,
    )>();
    plain::<(
        RateLimitLayer,
        RateLimit<Service>,
        Key,
        HeaderKey,
        HeaderStyle,
        Refusal<'static>,
        PolicyHeaders<'static>,
        RequestKey<'static>,
        Ipv6Prefix,
        PeerAddr,
        TrustedProxies,
        ResponseBody<String>,
    )>();
    future::<ResponseFuture<Service, Body, Body>>();
    error::<QuotaError>();
    error::<BuildError>();
    error::<ConflictingHeaders>();
    error::<RedisError>();
    error::<KeyMismatch>();
    let _: &dyn Fn(Refused) -> Box<dyn Error + Send + Sync> = &|refused| refused.into();
}
