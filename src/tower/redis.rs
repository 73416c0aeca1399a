//! Redis backend of the layer.

use std::{io::Write, mem, net::IpAddr, sync::Arc};

use http::request::Parts;

use super::{
    key::KeyValue,
    key_error::KeyError,
    layer_decision::LayerDecision,
    request_limiter::{Backend, CheckOutcome, RequestLimiter},
};
use crate::{RedisLimiter, SharedDecision};

/// Length of the longest textual IP address.
const MAX_ADDRESS_LEN: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

/// Backend that decides with a Redis limiter.
pub(super) fn backend(limiter: RedisLimiter) -> Backend {
    Backend::Custom {
        debug: Arc::new(limiter.clone()),
        check: Arc::new(move |requests, head, cost| check(&limiter, requests, head, cost)),
    }
}

/// Decides at once where that needs no Redis command, else later.
fn check(
    limiter: &RedisLimiter,
    requests: &RequestLimiter,
    head: &mut Parts,
    cost: u32,
) -> Result<CheckOutcome, KeyError> {
    let key = requests.key(head)?;
    let mut buffer = [0; MAX_ADDRESS_LEN];
    let key = key_bytes(&key, &mut buffer);
    if let Some(decision) = limiter.try_acquire_at_once(key, cost) {
        head.extensions.insert(decision);
        return Ok(CheckOutcome::Decided(annotated(decision)));
    }
    let (limiter, key) = (limiter.clone(), key.to_vec());
    let mut extensions = mem::take(&mut head.extensions);
    Ok(CheckOutcome::Pending(Box::pin(async move {
        let decision = limiter.try_acquire(&key, cost).await;
        extensions.insert(decision);
        (annotated(decision), extensions)
    })))
}

fn annotated(shared: SharedDecision) -> LayerDecision {
    LayerDecision {
        decision: shared.decision(),
        fallback: shared.source().without_redis(),
    }
}

/// Formats a key as text, without an allocation.
fn key_bytes<'a>(key: &'a KeyValue<'_>, buffer: &'a mut [u8; MAX_ADDRESS_LEN]) -> &'a [u8] {
    match key {
        KeyValue::Address(address) => format_address(buffer, *address),
        KeyValue::Text(text) => text.as_bytes(),
    }
}

fn format_address(buffer: &mut [u8; MAX_ADDRESS_LEN], address: IpAddr) -> &[u8] {
    let mut unused = buffer.as_mut_slice();
    // The buffer holds every address.
    let _ = write!(unused, "{address}");
    let len = MAX_ADDRESS_LEN - unused.len();
    &buffer[..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_formatted_as_by_display() {
        for text in [
            "192.0.2.7",
            "255.255.255.255",
            "::",
            "2001:db8:1111:2222:3333:4444:5555:6666",
            "::ffff:192.0.2.255",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(
                key_bytes(&KeyValue::Address(address), &mut [0; MAX_ADDRESS_LEN]),
                text.as_bytes()
            );
        }
    }
}
