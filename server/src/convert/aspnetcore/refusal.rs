//! Response to refused requests.

use crate::convert::{field::Field, policy::Policy};

/// Adds the status and the body of refusals.
///
/// # Errors
/// The field, what was expected, and what was found.
pub(crate) fn add(policy: &mut Policy, section: &Field<'_>) -> Result<(), String> {
    let response = section.get("QuotaExceededResponse");
    let of_response = |name: &str| response.as_ref().and_then(|response| response.get(name));
    if let Some(field) = of_response("StatusCode").or_else(|| section.get("HttpStatusCode")) {
        let status = u16::try_from(field.whole()?).ok();
        let status = status.filter(|status| (400..=599).contains(status));
        policy.refusal.status =
            Some(status.ok_or_else(|| field.expected("a status from 400 to 599"))?);
    }
    let content = of_response("Content").or_else(|| section.get("QuotaExceededMessage"));
    let Some(content) = content else {
        return Ok(());
    };
    let media_type = match of_response("ContentType") {
        Some(media_type) => media_type.text()?.to_ascii_lowercase(),
        None => "text/plain".to_owned(),
    };
    let key = match media_type.split(';').next().unwrap_or_default().trim() {
        "application/json" => "json",
        "application/problem+json" => "problem",
        "text/html" => "html",
        "text/plain" => "text",
        _ => {
            policy.gap(
                content.path,
                "of these media types refusals have bodies: application/json, application/problem+json, text/html and text/plain",
            );
            return Ok(());
        }
    };
    match body(content.text()?) {
        Some(body) => policy.refusal.body = Some((key, body)),
        None => policy.gap(
            content.path,
            "the period {1} has no placeholder: write the body by hand, with {capacity} and {retry_after}",
        ),
    }
    Ok(())
}

/// Returns the body with our placeholders, or `None` if it has others.
fn body(text: &str) -> Option<String> {
    if text.contains("{1}") {
        return None;
    }
    // Braces are doubled there.
    let mut body = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let replaced = [
            ("{{", "{"),
            ("}}", "}"),
            ("{0}", "{capacity}"),
            ("{2}", "{retry_after}"),
        ];
        let found = replaced
            .iter()
            .find_map(|(from, to)| Some((rest.strip_prefix(from)?, *to)));
        match found {
            Some((next, to)) => {
                body += to;
                rest = next;
            }
            None => {
                let mut chars = rest.chars();
                body.extend(chars.next());
                rest = chars.as_str();
            }
        }
    }
    Some(body)
}
