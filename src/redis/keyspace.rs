//! Keyspace of a limiter: names of its keys in Redis, and the leases taken on them.

use std::{sync::Arc, time::Duration};

use super::{
    bucket_name::bucket_name,
    call_limit::CallLimit,
    lease::{
        keys::Keys,
        protocol::{Limits, Settings as LeaseSettings},
    },
    script::{Call, SETTINGS},
    script_quota::ScriptQuota,
};
use crate::{duration::saturating_nanos, quota::Quota};

/// Options of lease mode.
#[derive(Clone, Debug)]
pub(super) struct LeaseOptions {
    /// Fraction of a capacity that may be on lease.
    pub(super) fraction: f64,
    /// Time to wait for a reply.
    pub(super) timeout: Duration,
    /// Keys that may have tokens on lease at the same time.
    pub(super) max_keys: usize,
}

impl LeaseOptions {
    /// Lifetime of a lease. A crash loses the tokens on lease: at most the fraction, and only
    /// within this time after a use of the key. A shorter lifetime makes more messages: a key that
    /// is used less often than this sends a message for every request.
    pub(super) const LIFETIME: Duration = Duration::from_secs(2);

    pub(super) fn lifetime_micros(&self) -> u64 {
        LeaseOptions::LIFETIME.as_micros() as u64
    }

    /// Makes the table of leased keys of a quota. `None`: the quota is too small to be leased, and
    /// its tokens are taken one by one.
    fn keys(&self, quota: &ScriptQuota, max_keys: usize) -> Option<Keys> {
        let limits =
            Limits::for_fraction(&quota.layout.scaled, self.fraction, self.lifetime_micros())?;
        let settings = LeaseSettings {
            layout: quota.layout,
            limits,
            timeout_nanos: saturating_nanos(self.timeout),
        };
        Some(Keys::new(settings, max_keys))
    }
}

/// Names of everything that limiters with one prefix share.
#[derive(Clone, Debug)]
pub(super) struct Keyspace {
    prefix: String,
    /// Name of the settings hash, and of the channel on which changes are published.
    pub(super) settings: Vec<u8>,
    /// Name of a key that exists only while the permissions are checked.
    pub(super) scratch: Vec<u8>,
    /// See [`ScriptQuota::new`].
    clock_tolerance: Duration,
    /// `None`: exact mode.
    pub(super) lease: Option<LeaseOptions>,
    /// Keys are the hash tags of their buckets.
    tagged: bool,
}

impl Keyspace {
    pub(super) fn new(
        prefix: String,
        clock_tolerance: Duration,
        lease: Option<LeaseOptions>,
        tagged: bool,
    ) -> Keyspace {
        Keyspace {
            settings: format!("{prefix}:settings").into_bytes(),
            scratch: format!("{prefix}:rights").into_bytes(),
            prefix,
            clock_tolerance,
            lease,
            tagged,
        }
    }

    /// Starts a call that changes the settings. `known` is the version that this process knows.
    pub(super) fn settings_call(&self, known: u64, verb: &str) -> Call {
        Call::new(&SETTINGS, self.settings.clone())
            .bytes(&self.settings)
            .number(known)
            .bytes(verb.as_bytes())
    }
}

/// Quota, and the namespace of the buckets that have it.
#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) limit: ScriptQuota,
    /// Version of the settings that introduced the quota.
    pub(super) since: u64,
    /// Beginning of the bucket names. Unique per quota version.
    pub(super) prefix: Vec<u8>,
    tagged: bool,
    /// Keys with tokens on lease, if this quota is leased.
    pub(super) keys: Option<Keys>,
    /// Calls in flight and remembered refusals. A changed quota has a new namespace, so it drops
    /// them.
    pub(super) calls: Arc<CallLimit>,
}

impl Namespace {
    pub(super) fn new(
        keyspace: &Keyspace,
        quota: Quota,
        since: u64,
        default_since: u64,
    ) -> Namespace {
        let Keyspace {
            prefix,
            lease,
            clock_tolerance,
            tagged,
            ..
        } = keyspace;
        // Buckets of lease mode have names of their own: the scripts of exact mode know nothing of
        // the leases stored beside them.
        let mode = if lease.is_some() { "l" } else { "" };
        // A rule's name contains the version of the default: replacing the default makes the rules'
        // buckets full as well.
        let (name, max_keys, calls) = if since == default_since {
            (
                format!("{prefix}:{mode}{since:x}:"),
                lease.as_ref().map_or(0, |lease| lease.max_keys),
                CallLimit::for_many_keys(),
            )
        } else {
            (
                format!("{prefix}:{mode}{default_since:x}.{since:x}:"),
                1,
                CallLimit::for_one_key(),
            )
        };
        let limit = ScriptQuota::new(quota, *clock_tolerance);
        let keys = lease
            .as_ref()
            .and_then(|lease| lease.keys(&limit, max_keys));
        Namespace {
            limit,
            since,
            prefix: name.into_bytes(),
            tagged: *tagged,
            keys,
            calls: Arc::new(calls),
        }
    }

    /// Returns the name of the bucket of a [`bounded`](super::bucket_name::bounded) key.
    pub(super) fn bucket(&self, key: &[u8]) -> Vec<u8> {
        bucket_name(&self.prefix, key, self.tagged)
    }
}
