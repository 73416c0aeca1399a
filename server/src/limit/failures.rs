//! Limit of failed credentials: wrong tokens, unknown API keys, and JWTs that no key has signed.
//!
//! Each client address has a few failures a minute; a request with a further one gets 429. Correct
//! credentials are checked first and are always accepted, so that an attacker cannot lock out the
//! users who share an address. The limit is that of this instance, also with Redis.

use std::time::Duration;

use tollgate::{Bucket, BuildError, Clock, Decision, KeyedLimiter, KeyedLimiterBuilder, Quota};

use crate::request::client_id::ClientId;

const QUOTA: Quota = Quota::interval(10, Duration::from_secs(60));

/// Maximum number of addresses with failures.
const MAX_CLIENTS: usize = 100_000;

/// Log lines about limited addresses, for all of them.
const LOG_QUOTA: Quota = Quota::per_minute(10);

/// Failures of credentials by client address.
pub(crate) struct FailureLimit {
    limiter: KeyedLimiter<ClientId<'static>>,
    log: Bucket,
}

impl FailureLimit {
    pub(crate) fn new() -> Result<FailureLimit, String> {
        FailureLimit::with_builder(
            KeyedLimiter::builder(QUOTA)
                .clock(Clock::monotonic())
                .max_keys(MAX_CLIENTS),
        )
        .map_err(|error| error.to_string())
    }

    fn with_builder(
        builder: KeyedLimiterBuilder<ClientId<'static>>,
    ) -> Result<FailureLimit, BuildError> {
        Ok(FailureLimit {
            limiter: builder.build()?,
            log: Bucket::new(LOG_QUOTA),
        })
    }

    /// Charges a failure to the client's address. A refusal is to be answered with 429.
    pub(crate) fn charge(&self, client: &ClientId<'_>) -> Decision {
        let decision = self.limiter.try_acquire(client, 1);
        if decision.is_refused()
            && let ClientId::Address { address, .. } = client
            && !self.log.try_acquire(1).is_refused()
        {
            tracing::warn!(client = %address, "credentials guessed: more than 10 failures in a minute");
        }
        decision
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tollgate::ManualClock;

    use super::*;

    fn client(address: &str) -> ClientId<'static> {
        let address: IpAddr = address.parse().unwrap();
        ClientId::Address {
            address,
            network: address,
        }
    }

    #[test]
    fn ten_failures_of_an_address_are_back_after_a_minute() {
        let clock = ManualClock::new();
        clock.advance(Duration::from_secs(1000));
        let builder = KeyedLimiter::builder(QUOTA)
            .max_keys(100)
            .clock(clock.clone());
        let failures = FailureLimit::with_builder(builder).unwrap();
        let fails = |address| !failures.charge(&client(address)).is_refused();
        assert!((0..10).all(|_| fails("192.0.2.1")));
        assert!(!fails("192.0.2.1") && fails("192.0.2.2"));
        clock.advance(Duration::from_millis(59_900));
        assert!(!fails("192.0.2.1"));
        clock.advance(Duration::from_millis(200));
        assert!(fails("192.0.2.1"));
    }
}
