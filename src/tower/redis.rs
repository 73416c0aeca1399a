//! Redis backend of the layer.

use std::{io::Write, net::IpAddr, sync::Arc};

use super::{
    key_error::KeyError,
    limited_request::LimitedRequest,
    request_limiter::{Backend, CheckOutcome},
};
use crate::RedisLimiter;

/// Length of the longest textual IP address.
const MAX_ADDRESS_LEN: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

/// Backend that decides with a Redis limiter.
pub(super) fn backend(limiter: RedisLimiter) -> Backend {
    Backend::Custom {
        debug: Arc::new(limiter.clone()),
        check: Arc::new(move |request, cost| check(&limiter, request, cost)),
    }
}

/// Decides at once where that needs no Redis command, else later.
fn check(
    limiter: &RedisLimiter,
    request: &LimitedRequest<'_>,
    cost: u32,
) -> Result<CheckOutcome, KeyError> {
    let key = request.required_key()?;
    let (mut buffer, text);
    let key = match key.address() {
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
    if let Some(decision) = limiter.try_acquire_at_once(key, cost) {
        return Ok(CheckOutcome::Decided(decision.view()));
    }
    let (limiter, key) = (limiter.clone(), key.to_vec());
    Ok(CheckOutcome::Pending(Box::pin(async move {
        limiter.try_acquire(&key, cost).await.view()
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
