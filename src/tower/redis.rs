//! Redis backend of the layer.

use std::{io::Write, net::IpAddr};

use super::{
    check_outcome::CheckOutcome, delay::Delay, key_error::KeyError, layer_decision::LayerDecision,
    limited_request::LimitedRequest,
};
use crate::{Outcome, RedisLimiter};

/// Length of the longest textual IP address.
const MAX_ADDRESS_LEN: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

/// Decides at once where that needs no Redis command, else later.
pub(super) fn check(
    limiter: &RedisLimiter,
    delay: &Delay,
    request: &LimitedRequest<'_>,
    cost: u32,
    policy: &'static str,
) -> Result<CheckOutcome, KeyError> {
    let key = request.required_key()?;
    let (mut buffer, text);
    let name = match key.address() {
        // Without an allocation.
        Some(address) => {
            buffer = [0; MAX_ADDRESS_LEN];
            format_address(&mut buffer, address)
        }
        None => {
            text = key.redis_text(request.has_alternatives());
            text.as_bytes()
        }
    };
    // Requests that wait are not overtaken.
    let is_queued = !delay.is_off() && limiter.has_waiters(name);
    if !is_queued
        && let Some(decision) = limiter.try_acquire_at_once(name, cost)
        && !delay.covers(&decision.view())
    {
        return Ok(CheckOutcome::of_one(policy, decision.view()));
    }
    let (limiter, name) = (limiter.clone(), name.to_vec());
    if delay.is_off() {
        return Ok(CheckOutcome::Pending(Box::pin(async move {
            LayerDecision::of_one(policy, limiter.try_acquire(&name, cost).await.view())
        })));
    }
    let (delay, key) = (delay.clone(), key.clone().into_owned());
    Ok(CheckOutcome::Pending(Box::pin(async move {
        let mut refused = None;
        if !is_queued {
            let decision = limiter.try_acquire(&name, cost).await.view();
            if !delay.covers(&decision) {
                return LayerDecision::of_one(policy, decision);
            }
            refused = Some(decision);
        }
        let decision = match (delay.enter(&key), refused) {
            (Some(_delayed), _) => {
                let acquiring = limiter.acquire_within(&name, cost, delay.max_wait);
                acquiring.await.into()
            }
            (None, Some(refused)) => refused,
            (None, None) => {
                let now = limiter.try_acquire(&name, 0).await.view();
                now.refusing(cost, Outcome::QueueFull)
            }
        };
        LayerDecision::of_one(policy, decision)
    })))
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
                format_address(&mut [0; MAX_ADDRESS_LEN], address),
                text.as_bytes()
            );
        }
    }
}
