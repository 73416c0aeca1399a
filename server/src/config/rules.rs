//! Rules: clients with a quota of their own.

use tollgate::Quota;

use super::{file, quota};
use crate::values::Client;

/// Maximum number of rules. A rule costs about 550 bytes, and every change copies the list.
pub(crate) const MAX_RULES: usize = 10_000;

/// A client's own quota.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) client_id: String,
    pub(crate) quota: Quota,
}

/// Validates the rules of the file.
pub(super) fn merge(given: Vec<file::Rule>, client: &Client) -> Result<Vec<Rule>, String> {
    if given.len() > MAX_RULES {
        return Err(format!(
            "rules: expected at most {MAX_RULES}, got {}",
            given.len()
        ));
    }
    let rule = |(index, rule): (usize, file::Rule)| {
        let quota = quota::of_rule(&rule);
        Ok(Rule {
            quota: quota.map_err(|error| format!("rules[{index}].{error}"))?,
            client_id: client.canonical(rule.client_id),
        })
    };
    given.into_iter().enumerate().map(rule).collect()
}
