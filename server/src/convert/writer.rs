//! Text of a converted policy: TOML, with comments on what has no counterpart.

use std::fmt::Write;

use super::policy::{Limit, Policy};

/// Default of `max_delayed`.
const DEFAULT_MAX_DELAYED: u64 = 1024;

/// Maximum number of characters of a comment that were in the converted file.
const MAX_COMMENT: usize = 400;

/// Returns the configuration that says the same as a policy.
pub(crate) fn write(policy: &Policy, title: &str) -> String {
    let mut out = format!("# {}\n", comment(title));
    for gap in &policy.gaps {
        let text = comment(&format!("{}: {}", gap.place, gap.reason));
        out += &format!("# not converted: {text}\n");
    }
    out.push('\n');
    let start = out.len();
    write_keys(&mut out, policy);
    if out.len() > start {
        out.push('\n');
    }
    let refusal = &policy.refusal;
    if refusal.status.is_some_and(is_unusual) || refusal.body.is_some() {
        out += "[refusal]\n";
        if let Some(status) = refusal.status {
            line(&mut out, "status", &status.to_string());
        }
        if let Some((key, body)) = &refusal.body {
            line(&mut out, key, &text(body));
        }
        out.push('\n');
    }
    for limit in &policy.limits {
        write_limit(&mut out, limit);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn write_keys(out: &mut String, policy: &Policy) {
    let networks = |networks: &[ipnet::IpNet]| {
        let texts: Vec<String> = networks.iter().map(ToString::to_string).collect();
        list(&texts)
    };
    if !policy.trust_proxy.is_empty() {
        line(out, "trust_proxy", &networks(&policy.trust_proxy));
        if let Some(header) = &policy.client_address_header {
            line(out, "client_address_header", &text(header));
        }
    }
    if policy
        .limits
        .iter()
        .any(|limit| limit.concurrency.is_some())
    {
        *out += "# concurrency needs an upstream: put the address of your service here.\n";
        line(out, "upstream", &text("http://127.0.0.1:9000"));
    }
    if !policy.allow.is_empty() {
        line(out, "allow", &networks(&policy.allow));
    }
    if policy.hides_headers {
        line(out, "headers", &text("none"));
    }
    let delays = policy.limits.iter().filter_map(|limit| limit.delay);
    if let Some(waiting) = delays.map(|delay| delay.waiting).max() {
        line(out, "max_delayed_per_client", &waiting.to_string());
        if waiting > DEFAULT_MAX_DELAYED {
            line(out, "max_delayed", &waiting.to_string());
        }
    }
}

fn write_limit(out: &mut String, limit: &Limit) {
    *out += &format!("# {}\n[[limits]]\n", comment(&limit.place));
    line(out, "name", &text(&limit.name));
    if !limit.patterns.is_empty() {
        line(out, "match", &one_or_list(&limit.patterns));
    }
    if !limit.headers.is_empty() {
        line(out, "header", &one_or_list(&limit.headers));
    }
    line(out, "key", &one_or_list(&limit.key));
    if !limit.quotas.is_empty() {
        let quotas: Vec<String> = limit.quotas.iter().map(ToString::to_string).collect();
        line(out, "quota", &one_or_list(&quotas));
    }
    if let Some(delay) = limit.delay {
        // Rounded up, so that the last request waits.
        let wait = delay.wait.as_micros().div_ceil(1000);
        line(out, "delay", &text(&format!("{wait}ms")));
    }
    if let Some(concurrency) = limit.concurrency {
        line(out, "concurrency", &concurrency.to_string());
    }
    if !limit.costs.is_empty() {
        let costs = limit.costs.iter();
        let costs: Vec<String> = costs
            .map(|(pattern, cost)| format!("{} = {cost}", text(pattern)))
            .collect();
        line(out, "cost", &format!("{{ {} }}", costs.join(", ")));
    }
    if limit.is_shadow {
        line(out, "shadow", "true");
    }
    if limit.skips_missing {
        line(out, "missing", &text("skip"));
    }
    if let Some(clients) = limit.max_clients {
        line(out, "max_clients", &clients.to_string());
    }
    if let Some(status) = limit.status.filter(|status| is_unusual(*status)) {
        line(out, "refusal", &format!("{{ status = {status} }}"));
    }
    out.push('\n');
}

/// Returns true for a status of refusals that is not the server's default.
fn is_unusual(status: u16) -> bool {
    status != 429
}

fn line(out: &mut String, key: &str, value: &str) {
    // A `String` can be written to.
    let _ = writeln!(out, "{key} = {value}");
}

fn one_or_list(texts: &[String]) -> String {
    match texts {
        [one] => text(one),
        several => list(several),
    }
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|item| text(item)).collect();
    format!("[{}]", texts.join(", "))
}

/// Returns a string of TOML in one line.
fn text(value: &str) -> String {
    let mut out = String::from("\"");
    for char in value.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            char if char.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(char));
            }
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

/// Returns a comment of one line, without control characters.
fn comment(text: &str) -> String {
    let plain = |char: char| if char.is_control() { ' ' } else { char };
    let mut comment: String = text.chars().take(MAX_COMMENT).map(plain).collect();
    if text.chars().nth(MAX_COMMENT).is_some() {
        comment += "…";
    }
    comment
}
