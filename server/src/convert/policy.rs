//! Policy of another product in the terms of Tollgate.

use std::time::Duration;

use ipnet::IpNet;
use tollgate::Quota;

/// Maximum number of limits, which bounds the time to compare and check them.
pub(crate) const MAX_LIMITS: usize = 200;

/// Policy of another product, and the parts of it that have no counterpart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) trust_proxy: Vec<IpNet>,
    /// Written only with networks of proxies, which it needs.
    pub(crate) client_address_header: Option<String>,
    pub(crate) allow: Vec<IpNet>,
    /// Responses have no headers about limits.
    pub(crate) hides_headers: bool,
    pub(crate) refusal: Refusal,
    pub(crate) limits: Vec<Limit>,
    pub(crate) gaps: Vec<Gap>,
}

/// Response to refused requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: Option<u16>,
    /// Key of `[refusal]`, such as `json`, and text.
    pub(crate) body: Option<(&'static str, String)>,
}

/// A table of `[[limits]]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limit {
    pub(crate) name: String,
    /// Line or field of the converted file.
    pub(crate) place: String,
    /// Empty: all requests.
    pub(crate) patterns: Vec<String>,
    pub(crate) headers: Vec<String>,
    pub(crate) key: Vec<String>,
    pub(crate) quotas: Vec<Quota>,
    pub(crate) concurrency: Option<u64>,
    pub(crate) costs: Vec<(String, u32)>,
    pub(crate) is_shadow: bool,
    /// Requests without the key are not limited.
    pub(crate) skips_missing: bool,
    pub(crate) max_clients: Option<u64>,
    pub(crate) status: Option<u16>,
    /// Requests that wait for their tokens.
    pub(crate) delay: Option<Delay>,
}

/// Requests that wait for their tokens: for how long, and how many of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delay {
    pub(crate) wait: Duration,
    pub(crate) waiting: u64,
}

/// Part of a file that has no counterpart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Line or field of the converted file.
    pub(crate) place: String,
    /// Reason, and what to do.
    pub(crate) reason: String,
}

impl Policy {
    pub(crate) fn gap(&mut self, place: impl Into<String>, reason: impl Into<String>) {
        let gap = Gap {
            place: place.into(),
            reason: reason.into(),
        };
        if !self.gaps.contains(&gap) {
            self.gaps.push(gap);
        }
    }

    /// Sets the status of all refusals where the limits agree on one.
    pub(crate) fn share_status(&mut self) {
        let Some(first) = self.limits.first().map(|limit| limit.status) else {
            return;
        };
        if self.limits.iter().all(|limit| limit.status == first) {
            self.refusal.status = first;
            for limit in &mut self.limits {
                limit.status = None;
            }
        }
    }
}

/// Unique names of limits.
#[derive(Debug, Default)]
pub(crate) struct Names(std::collections::HashSet<String>);

impl Names {
    /// Returns the wanted name, or one like it when it is taken or not allowed, for a limit with this
    /// number of quotas.
    pub(crate) fn unique(&mut self, wanted: &str, quotas: usize) -> String {
        const RESERVED: [&str; 2] = ["default", "failed-credentials"];
        let plain = |char: char| {
            if char.is_ascii_alphanumeric() || "-_.".contains(char) {
                char
            } else {
                '-'
            }
        };
        let plain: String = wanted.chars().take(48).map(plain).collect();
        let base = match plain.trim_matches('-') {
            "" => "limit",
            name => name,
        };
        let mut number = 1;
        loop {
            let name = match number {
                1 => base.to_owned(),
                number => format!("{base}.{number}"),
            };
            let of_quotas = (2..=quotas).map(|index| format!("{name}-{index}"));
            let names: Vec<String> = std::iter::once(name.clone()).chain(of_quotas).collect();
            let is_taken =
                |name: &String| RESERVED.contains(&name.as_str()) || self.0.contains(name);
            if !names.iter().any(is_taken) {
                self.0.extend(names);
                return name;
            }
            number += 1;
        }
    }
}
