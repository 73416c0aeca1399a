//! Rules: quotas of single keys.

use std::collections::HashMap;

use crate::{bucket::Bucket, sync::Arc};

/// Rules by the hash of their key. A hash identifies a key as well as the tags of the table do.
pub(super) type Rules = HashMap<u64, Arc<Rule>, foldhash::fast::FixedState>;

/// Bucket of a key that has its own quota.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) bucket: Bucket,
    /// Identifies this rule in the decisions it makes.
    pub(super) origin: u32,
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
