//! Counters of failed credentials.

use std::sync::atomic::{AtomicU64, Ordering};

/// Credential that a request presented; the label `credential`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    AdminToken,
    CheckToken,
    ApiKey,
    Jwt,
}

/// Numbers of requests with a wrong token, an unknown API key or a JWT that no key has signed: denied,
/// and limited with 429.
#[derive(Debug, Default)]
pub(crate) struct CredentialFailures([[AtomicU64; 2]; 4]);

/// Counts by the labels `credential` and `outcome`.
pub(super) type Totals = Vec<([&'static str; 2], u64)>;

impl CredentialFailures {
    pub(crate) fn add(&self, credential: Credential, is_limited: bool) {
        self.0[credential as usize][usize::from(is_limited)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn totals(&self) -> Totals {
        let rows = ["admin_token", "check_token", "api_key", "jwt"]
            .into_iter()
            .zip(&self.0);
        rows.flat_map(|(credential, counts)| {
            ["denied", "limited"]
                .into_iter()
                .zip(counts)
                .map(move |(outcome, count)| ([credential, outcome], count.load(Ordering::Relaxed)))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_credential_and_outcome() {
        let failures = CredentialFailures::default();
        failures.add(Credential::ApiKey, false);
        failures.add(Credential::AdminToken, true);
        failures.add(Credential::AdminToken, true);
        let totals = failures.totals();
        let counted: Vec<_> = totals.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            counted,
            [(["admin_token", "limited"], 2), (["api_key", "denied"], 1)]
        );
    }
}
