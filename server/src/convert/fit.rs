//! Check of a converted policy with the server's own parser.

use super::{
    policy::{Gap, Limit, MAX_LIMITS, Policy},
    writer,
};
use crate::config::Settings;

/// Returns the policy and its text with the limits that the server accepts. The others become gaps.
///
/// # Errors
/// The policy has no limits, or more than can be checked.
pub(crate) fn fitted(mut policy: Policy, title: &str) -> Result<(Policy, String), String> {
    if policy.limits.is_empty() && policy.gaps.is_empty() {
        return Err("expected rate limits, got a file without them".to_owned());
    }
    if policy.limits.len() > MAX_LIMITS {
        return Err(format!(
            "expected at most {MAX_LIMITS} limits, got {}",
            policy.limits.len()
        ));
    }
    check_body(&mut policy);
    if accepted(&policy).is_err() {
        narrow(&mut policy);
    }
    if accepted(&policy).is_err() {
        let limits = std::mem::take(&mut policy.limits);
        for limit in limits {
            policy.limits.push(limit);
            if let Err(error) = accepted(&policy)
                && let Some(limit) = policy.limits.pop()
            {
                policy.gaps.push(left_out(&limit, &error));
            }
        }
    }
    if policy.limits.is_empty() {
        policy.gap(
            "limits",
            "no limit is left, so the server's default quota applies: set quota",
        );
    }
    let text = writer::write(&policy, title);
    match Settings::from_text(&text, false) {
        Ok(_) => Ok((policy, text)),
        Err(error) => Err(format!("expected a valid configuration, got: {error}")),
    }
}

/// Leaves out a body of refusals that the server refuses.
fn check_body(policy: &mut Policy) {
    let alone = Policy {
        refusal: policy.refusal.clone(),
        ..Policy::default()
    };
    if policy.refusal.body.is_some()
        && let Err(error) = accepted(&alone)
    {
        policy.refusal.body = None;
        policy.gap(
            "body of refusals",
            format!("left out, because the server refuses it: {error}"),
        );
    }
}

fn accepted(policy: &Policy) -> Result<(), String> {
    Settings::from_text(&writer::write(policy, ""), false).map(|_| ())
}

fn left_out(limit: &Limit, error: &str) -> Gap {
    // The number of the limit is that of a configuration that is not printed.
    let error = match error.split_once("].") {
        Some((start, rest)) if start.starts_with("limits[") => rest,
        _ => error,
    };
    let advice = if error.contains("may apply to one request") {
        "; an instance for each host, or patterns that exclude one another, leave room"
    } else {
        ""
    };
    Gap {
        place: format!("{} ({})", limit.place, limit.name),
        reason: format!("left out, because the server refuses it: {error}{advice}"),
    }
}

/// Replaces prefixes that end within a segment by prefixes of whole segments. The server's check of
/// the number of limits distinguishes only these.
fn narrow(policy: &mut Policy) {
    let mut places = Vec::new();
    for limit in &mut policy.limits {
        for pattern in &mut limit.patterns {
            if let Some(start) = pattern
                .strip_suffix("*/*")
                .filter(|start| !start.ends_with('/'))
            {
                *pattern = format!("{start}/*");
                places.push((limit.place.clone(), pattern.clone()));
            }
        }
    }
    for (place, pattern) in places {
        policy.gap(
            place,
            format!("paths that only begin like {pattern} are not matched: add them if they exist"),
        );
    }
}
