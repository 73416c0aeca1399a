//! Redis behind the layer.

use std::{io::Write, mem, net::IpAddr};

use http::request::Parts;

use super::{
    decided::Decided,
    gate::{Gate, Verdict},
    key::{Key, Missing, Value},
    layer::RateLimitLayer,
};
use crate::{RedisLimiter, SharedDecision};

impl RateLimitLayer {
    /// A limit that many processes share, through Redis or Valkey (feature `redis`).
    ///
    /// ```no_run
    /// use tollgate::{Quota, RedisLimiter, tower::{Key, RateLimitLayer}};
    ///
    /// # async fn example() -> Result<(), tollgate::RedisError> {
    /// let limiter = RedisLimiter::connect("redis://127.0.0.1/", Quota::per_second(10)).await?;
    /// let layer = RateLimitLayer::redis(limiter.clone(), Key::ip()); // and .peer_from(…), as for any other
    /// limiter.set_rule("192.0.2.7", Quota::per_second(100)).await?; // a key is text there, an address too
    /// # Ok(()) }
    /// ```
    ///
    /// A request waits for Redis as long as the limiter's timeout at most. What needs no waiting is
    /// answered at once: with tokens on lease, by a refusal that is remembered, or while Redis
    /// cannot be asked. Then [`RedisFallback`](crate::RedisFallback) decides, and the answer says so:
    /// `X-RateLimit-Without-Redis: local`, `open`, or, with the status 503, `closed`.
    ///
    /// Behind the layer, and in the request that a [refusal](RateLimitLayer::refusal) sees, a
    /// [`SharedDecision`] is in the extensions beside the [`Decision`](crate::Decision), and says
    /// who decided:
    ///
    /// ```
    /// # use {axum::Extension, tollgate::{SharedDecision, DecisionSource}};
    /// async fn alone(Extension(decision): Extension<SharedDecision>) -> String {
    ///     format!("Redis is ill: {}", decision.source() == DecisionSource::Local)
    /// }
    /// ```
    ///
    /// With leases, call [`RedisLimiter::close`] before the process ends.
    #[must_use]
    pub fn redis(limiter: RedisLimiter, key: Key) -> RateLimitLayer {
        RateLimitLayer::elsewhere(key, limiter.clone(), move |gate, request, cost| {
            ask(&limiter, gate, request, cost)
        })
    }
}

fn ask(
    limiter: &RedisLimiter,
    gate: &Gate,
    request: &mut Parts,
    cost: u32,
) -> Result<Verdict, Missing> {
    let key = gate.key(request)?;
    let mut room = [0; LONGEST_ADDRESS];
    let name = name(&key, &mut room);
    if let Some(decision) = limiter.try_acquire_at_once(name, cost) {
        request.extensions.insert(decision);
        return Ok(Verdict::Decided(decision.into()));
    }
    let (limiter, name) = (limiter.clone(), name.to_vec());
    let mut extensions = mem::take(&mut request.extensions);
    Ok(Verdict::Deciding(Box::pin(async move {
        let decision = limiter.try_acquire(&name, cost).await;
        extensions.insert(decision);
        (decision.into(), extensions)
    })))
}

impl From<SharedDecision> for Decided {
    fn from(shared: SharedDecision) -> Decided {
        Decided {
            decision: shared.decision(),
            without_redis: shared.source().without_redis(),
        }
    }
}

/// As many characters as an address has at most.
const LONGEST_ADDRESS: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

/// The key as text, without an allocation.
fn name<'a>(key: &'a Value<'_>, room: &'a mut [u8; LONGEST_ADDRESS]) -> &'a [u8] {
    match key {
        Value::Address(address) => address_in(room, *address),
        Value::Text(text) => text.as_bytes(),
    }
}

fn address_in(room: &mut [u8; LONGEST_ADDRESS], address: IpAddr) -> &[u8] {
    let mut free = room.as_mut_slice();
    // There is room for every address.
    let _ = write!(free, "{address}");
    let length = LONGEST_ADDRESS - free.len();
    &room[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_called_as_it_is_written() {
        for text in [
            "192.0.2.7",
            "255.255.255.255",
            "::",
            "2001:db8:1111:2222:3333:4444:5555:6666",
            "::ffff:192.0.2.255",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(
                name(&Value::Address(address), &mut [0; LONGEST_ADDRESS]),
                text.as_bytes()
            );
        }
    }
}
