//! Bodies of refusals: JSON and problem details.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use http::StatusCode;

use crate::{DecisionView, Outcome, tower::retry_after::retry_after};

/// Message when no decision was possible: the request must not pass, and the client is not at
/// fault.
pub(super) const UNAVAILABLE: &str = "the limits cannot be looked up now";

/// Capacity that holds a JSON body without growing.
const JSON_CAPACITY: usize = 128;

/// JSON body of a response to a request without a decision.
pub(super) fn unavailable() -> String {
    format!(r#"{{"error": "Service Unavailable", "message": "{UNAVAILABLE}"}}"#)
}

/// Text of a refusal, and the wait that it announces.
#[derive(Clone, Copy)]
pub(super) struct Details<M> {
    message: M,
    wait: Wait,
}

impl<'a> Details<Message<'a>> {
    /// Details of a refusal by a limit.
    pub(super) fn of_decision(decision: &'a DecisionView) -> Self {
        let wait = Wait(retry_after(decision));
        Details {
            message: Message { decision, wait },
            wait,
        }
    }
}

impl Details<String> {
    /// Details of a refusal for another reason.
    pub(super) fn new(message: &str, wait: Duration) -> Self {
        Details {
            message: escaped(message),
            wait: Wait(Some(wait)),
        }
    }
}

/// JSON body of a refusal.
pub(super) fn json<M: fmt::Display>(details: Details<M>, status: StatusCode) -> String {
    let Details { message, wait } = details;
    let error = status.canonical_reason().unwrap_or("Refused");
    let mut body = String::with_capacity(JSON_CAPACITY);
    // The message is escaped, and writing to a String cannot fail.
    let _ = write!(
        body,
        r#"{{"error": "{error}", "message": "{message}", "retry_after": {wait}}}"#
    );
    body
}

/// Problem details of a refusal by these policies.
pub(super) fn problem_json<'a, M: fmt::Display>(
    details: Details<M>,
    status: StatusCode,
    policies: impl Iterator<Item = &'a str>,
) -> String {
    let Details { message, wait } = details;
    let policies: Vec<String> = policies
        .map(|policy| format!("\"{}\"", escaped(policy)))
        .collect();
    let (policies, status) = (policies.join(", "), status.as_u16());
    let mut body = String::with_capacity(JSON_CAPACITY);
    // The message is escaped, and writing to a String cannot fail.
    let _ = write!(
        body,
        r##"{{"type": "https://iana.org/assignments/http-problem-types#quota-exceeded", "title": "Request cannot be satisfied as assigned quota has been exceeded", "status": {status}, "detail": "{message}", "violated-policies": [{policies}], "retry_after": {wait}}}"##
    );
    body
}

/// Text of a refusal without a body format.
pub(super) fn message(decision: &DecisionView) -> String {
    Details::of_decision(decision).message.to_string()
}

/// Returns a text as a part of a JSON string, where characters that are not printable ASCII are `_`.
fn escaped(text: &str) -> String {
    // Of printable ASCII, only these two characters need escaping in JSON.
    printable(text).replace('\\', r"\\").replace('"', r#"\""#)
}

/// Returns a text in printable ASCII.
pub(super) fn printable(text: &str) -> String {
    text.replace(|c: char| !matches!(c, ' '..='~'), "_")
}

/// Wait as a JSON value: seconds, or `null` when no wait helps.
#[derive(Clone, Copy)]
struct Wait(Option<Duration>);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(wait) => Seconds(wait).fmt(f),
            None => f.write_str("null"),
        }
    }
}

/// Seconds with the necessary decimals, one to six: `0.93`, `2.0`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut decimals, mut digits) = (self.0.subsec_micros(), 6);
        while digits > 1 && decimals % 10 == 0 {
            (decimals, digits) = (decimals / 10, digits - 1);
        }
        write!(f, "{}.{decimals:0digits$}", self.0.as_secs())
    }
}

/// Reason for a refusal by a limit. It needs no escaping in JSON.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    decision: &'a DecisionView,
    wait: Wait,
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Message { decision, wait } = *self;
        f.write_str("Rate limit exceeded: ")?;
        match (decision.outcome(), wait) {
            (_, Wait(None)) => write!(
                f,
                "this request costs {} tokens, more than the capacity of {}, so it can never pass",
                decision.cost(),
                decision.limit()
            ),
            (Outcome::TableFull, wait) => write!(f, "too many clients at once, retry in {wait} s"),
            (_, wait) => write!(f, "retry in {wait} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_their_fractions() {
        for (micros, text) in [
            (930_000, "0.93"),
            (2_000_000, "2.0"),
            (1, "0.000001"),
            (1_000_010, "1.00001"),
        ] {
            assert_eq!(Seconds(Duration::from_micros(micros)).to_string(), text);
        }
    }
}
