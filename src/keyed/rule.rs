//! Rules: buckets of single keys beside the table.

use std::{collections::HashMap, time::Duration};

use crate::{
    bucket::Bucket,
    quota::Quota,
    sync::{Arc, Ordering, unmodelled::AtomicU64},
};

/// Greatest number of paused keys without a rule. Every change of the rules copies them.
pub(super) const MAX_PAUSES: usize = 4_096;

/// Rules by the hash of their key. A hash identifies a key as well as the tags of the table do.
pub(super) type Rules = HashMap<u64, Arc<Rule>, foldhash::fast::FixedState>;

/// Bucket of a key that has its own quota, or that is paused: the stamp of a paused bucket is in the
/// future, which a table must not hold.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) bucket: Bucket,
    /// Identifies this rule in the decisions it makes.
    pub(super) origin: u32,
    /// The key has no quota of its own: the rule exists for a pause.
    is_pause: bool,
    /// End of the key's pause in nanoseconds, or 0.
    paused_until: AtomicU64,
}

impl Rule {
    /// Creates the rule of a key that has its own quota.
    pub(super) fn of_quota(quota: Quota, origin: u32) -> Rule {
        Rule {
            bucket: Bucket::new(quota),
            origin,
            is_pause: false,
            paused_until: AtomicU64::new(0),
        }
    }

    /// Creates the rule of a key that has the default quota, for a pause.
    pub(super) fn of_pause(quota: Quota, origin: u32) -> Rule {
        Rule {
            is_pause: true,
            ..Rule::of_quota(quota, origin)
        }
    }

    /// Creates the successor of a key's rule: with the quota `own`, or without one for the rest of a
    /// pause. Returns `None` for a key that needs no rule.
    pub(super) fn after(
        old: Option<&Rule>,
        own: Option<Quota>,
        default: Quota,
        now: u64,
        new_origin: impl FnOnce() -> u32,
    ) -> Option<Arc<Rule>> {
        let pause = old.and_then(|rule| rule.pause_after(now));
        let rule = match own {
            Some(quota) => Rule::of_quota(quota, new_origin()),
            None if pause.is_some() => Rule::of_pause(default, new_origin()),
            None => return None,
        };
        if let Some(until) = pause {
            rule.pause(now, until);
        }
        Some(Arc::new(rule))
    }

    /// Returns the key's own quota, if it has one.
    pub(super) fn quota(&self) -> Option<Quota> {
        (!self.is_pause).then(|| self.bucket.quota())
    }

    /// Grants nothing before `until`, in nanoseconds.
    pub(super) fn pause(&self, now: u64, until: u64) {
        self.paused_until.fetch_max(until, Ordering::Relaxed);
        let time = Duration::from_nanos(until.saturating_sub(now));
        self.bucket.pause_at(Duration::from_nanos(now), time);
    }

    /// Returns the end of the pause, if it is ahead.
    pub(super) fn pause_after(&self, now: u64) -> Option<u64> {
        let until = self.paused_until.load(Ordering::Relaxed);
        (until > now).then_some(until)
    }

    /// Returns true for the rule of a key that has the default quota.
    pub(super) fn is_pause(&self) -> bool {
        self.is_pause
    }

    /// Returns true when the rule was for a pause and its bucket is full again: the key's bucket in
    /// the table, which was not used meanwhile, then stands for it. The bucket of the rule is left
    /// empty, so that a call that still finds it admits no second capacity.
    pub(super) fn end_pause(&self, now: u64) -> bool {
        let capacity = self.bucket.quota().capacity();
        self.is_pause
            && self.pause_after(now).is_none()
            && self
                .bucket
                .try_acquire_at(Duration::from_nanos(now), capacity)
                .is_allowed()
    }
}

/// Returns the rules without those whose pause is over.
pub(super) fn unexpired(rules: &Rules, now: u64) -> Rules {
    let mut rules = rules.clone();
    rules.retain(|_, rule| !rule.end_pause(now));
    rules
}

/// Returns the rules with full buckets, for a new default quota.
pub(super) fn refilled(
    rules: &Rules,
    default: Quota,
    now: u64,
    new_origin: impl Fn() -> u32,
) -> Rules {
    let after = |(&hash, rule): (&u64, &Arc<Rule>)| {
        let rule = Rule::after(Some(rule), rule.quota(), default, now, &new_origin)?;
        Some((hash, rule))
    };
    rules.iter().filter_map(after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An `Arc` stores two counts before its value.
    #[repr(C)]
    struct ArcAllocation {
        counts: [usize; 2],
        rule: Rule,
    }

    #[test]
    fn a_rule_costs_about_550_bytes() {
        // A `HashMap` stores a control byte per entry, and fills 7/16 to 7/8 of its entries.
        let entry = size_of::<(u64, Arc<Rule>)>() + 1;
        let allocation = size_of::<ArcAllocation>();
        let (least, most) = (allocation + entry * 8 / 7, allocation + entry * 16 / 7);
        assert!(least >= 520 && most <= 580, "{least} to {most} bytes");
    }
}
