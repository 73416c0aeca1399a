//! Rules: an endpoint, a period and a number of requests.

use tollgate::Quota;

use crate::convert::{field::Field, pattern::is_valid, policy::Policy};

/// Rule of a client or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) path: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) quota: Quota,
    pub(crate) is_shadow: bool,
}

/// Requests of a rule, such as `*`, `*:/api/values` or `get:/api/*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `None`: all.
    pub(crate) method: Option<String>,
    /// Pattern of paths. `None`: all.
    pub(crate) path: Option<String>,
}

impl Endpoint {
    pub(crate) fn is_all(&self) -> bool {
        *self == Endpoint::default()
    }

    /// Returns the pattern of `match` or `cost`.
    pub(crate) fn pattern(&self) -> String {
        let path = self.path.as_deref().unwrap_or("*");
        match &self.method {
            Some(method) => format!("{method} {path}"),
            None => path.to_owned(),
        }
    }

    /// Returns true if the endpoint has one path.
    pub(crate) fn is_one_path(&self) -> bool {
        self.path.as_ref().is_some_and(|path| !path.contains('*'))
    }
}

/// Parses a list of rules. Rules without a counterpart become gaps.
///
/// # Errors
/// The field, what was expected, and what was found.
pub(crate) fn rules(policy: &mut Policy, list: &Field<'_>) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    for field in list.items()? {
        let required = |name: &str| {
            let missing = || format!("{}.{name}: expected a value, got none", field.path);
            field.get(name).ok_or_else(missing)
        };
        let endpoint = required("Endpoint")?;
        let text = endpoint.text()?;
        let period = match field.get("PeriodTimespan") {
            Some(span) => time_span(&span)?,
            None => period(&required("Period")?)?,
        };
        let limit = required("Limit")?.whole()?;
        let is_shadow = match field.get("MonitorMode") {
            Some(mode) => mode.is_true()?,
            None => false,
        };
        if field.get("QuotaExceededResponse").is_some() {
            policy.gap(
                format!("{}.QuotaExceededResponse", field.path),
                "write a table refusal in the limit",
            );
        }
        if limit == 0 {
            policy.gap(
                format!("{}.Limit", field.path),
                "0 refuses every request; no quota does: refuse them at the proxy or the service",
            );
            continue;
        }
        let Some(endpoint) = parse_endpoint(text) else {
            policy.gap(
                endpoint.path,
                "no pattern says the same: write match by hand",
            );
            continue;
        };
        match format!("{limit}/{period}").parse() {
            Ok(quota) => rules.push(Rule {
                path: field.path.clone(),
                endpoint,
                quota,
                is_shadow,
            }),
            Err(error) => policy.gap(&field.path, format!("the rule is left out: {error}")),
        }
    }
    Ok(rules)
}

/// Parses an endpoint, or returns `None` if no pattern says the same.
pub(crate) fn parse_endpoint(text: &str) -> Option<Endpoint> {
    let text = text.trim();
    let (method, path) = text.split_once(':').unwrap_or(match text {
        "*" => ("*", "*"),
        path if path.starts_with('/') => ("*", path),
        method => (method, "*"),
    });
    let method = match method {
        "*" => None,
        method if method.bytes().all(|byte| byte.is_ascii_alphabetic()) && !method.is_empty() => {
            Some(method.to_ascii_uppercase())
        }
        _ => return None,
    };
    let path = match path.trim() {
        "*" | "/*" | "" => None,
        path => Some(pattern(path)?),
    };
    Some(Endpoint { method, path })
}

/// Returns the pattern of a path in which `*` is any text.
fn pattern(path: &str) -> Option<String> {
    if path.contains(['?', '{', '}', ' ']) {
        return None;
    }
    let path = if path.starts_with(['/', '*']) {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let last = segments.len().saturating_sub(1);
    let mut patterns = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        match *segment {
            // Any text has slashes as well.
            "*" if at < last => patterns.push("**".to_owned()),
            segment if segment != "*" && segment.ends_with('*') && at == last => {
                patterns.extend([segment.to_owned(), "*".to_owned()]);
            }
            segment => patterns.push(segment.to_owned()),
        }
    }
    let pattern = format!("/{}", patterns.join("/"));
    is_valid(&pattern).then_some(pattern)
}

/// Returns a period such as `1s`, `15m`, `12h` or `7d` in the form of quotas.
fn period(field: &Field<'_>) -> Result<String, String> {
    let expected = || field.expected("a period such as 1s, 15m, 12h or 7d");
    let text = field.text().map_err(|_| expected())?;
    let is_unit = |unit: &char| "smhd".contains(*unit);
    let unit = text.chars().last().filter(is_unit).ok_or_else(expected)?;
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| expected())?;
    Ok(format!("{number}{unit}"))
}

/// Returns a time span such as `00:15:00` or `1.00:00:00` in the form of quotas.
fn time_span(field: &Field<'_>) -> Result<String, String> {
    let expected = || field.expected("a time span such as 00:15:00");
    let text = field.text().map_err(|_| expected())?;
    let (days, time) = match text.split_once('.') {
        Some((days, time)) if days.len() < 6 && !days.contains(':') => (days, time),
        _ => ("0", text),
    };
    let mut parts = vec![days];
    parts.extend(time.split(':'));
    let numbers = parts.iter().map(|part| part.parse::<u64>());
    let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().map_err(|_| expected())?;
    match numbers[..] {
        [days, hours, minutes, seconds] => {
            let whole = days.checked_mul(86_400);
            let rest = hours
                .saturating_mul(3600)
                .saturating_add(minutes.saturating_mul(60));
            let sum = whole.map(|whole| whole.saturating_add(rest).saturating_add(seconds));
            sum.map(|sum| format!("{sum}s")).ok_or_else(expected)
        }
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_patterns() {
        for (text, expected) in [
            ("*", Some("*")),
            ("*:/api/values", Some("/api/values")),
            ("get:/api/values", Some("GET /api/values")),
            ("POST:/api/*", Some("POST /api/*")),
            ("*:/api/*/orders", Some("/api/**/orders")),
            ("*:/api/val*", Some("/api/val*/*")),
            ("get:*", Some("GET *")),
            ("get", Some("GET *")),
            ("/api", Some("/api")),
            ("*:/api/?", None),
            ("((post)|(put)):/api", None),
            (":/a", None),
            ("*:/a/../b", None),
        ] {
            let pattern = parse_endpoint(text).map(|endpoint| endpoint.pattern());
            assert_eq!(pattern.as_deref(), expected, "{text}");
        }
    }
}
