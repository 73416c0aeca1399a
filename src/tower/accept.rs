//! What a client accepts (RFC 9110, section 12.5.1).

use http::{HeaderMap, header::ACCEPT};

/// The weight of what is accepted without reserve, in thousandths.
const FULL: u16 = 1000;

/// Whether a client takes `one`, and as gladly as `other`.
pub(super) fn prefers(request: &HeaderMap, one: &str, other: &str) -> bool {
    if !request.contains_key(ACCEPT) {
        return true;
    }
    let weight = weight(request, one);
    weight > 0 && weight >= self::weight(request, other)
}

/// What the most specific range that covers this type weighs; 0 when there is none.
fn weight(request: &HeaderMap, media_type: &str) -> u16 {
    let ranges = request
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','));
    let covering = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let specificity = specificity(parts.next()?, media_type)?;
        Some((specificity, parts.find_map(quality).unwrap_or(FULL)))
    });
    covering
        .max_by_key(|(specificity, _)| *specificity)
        .map_or(0, |(_, weight)| weight)
}

fn specificity(range: &str, media_type: &str) -> Option<u8> {
    let kind = |text: &str| text.split('/').next().map(str::to_ascii_lowercase);
    match range {
        "*/*" => Some(0),
        range if range.eq_ignore_ascii_case(media_type) => Some(2),
        range if range.ends_with("/*") && kind(range) == kind(media_type) => Some(1),
        _ => None,
    }
}

/// The value of a `q`. One that is no number accepts nothing.
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    let weight =
        || Some((value.trim().parse::<f32>().ok()?.clamp(0.0, 1.0) * f32::from(FULL)) as u16);
    name.trim()
        .eq_ignore_ascii_case("q")
        .then(|| weight().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_for_those_who_take_it_as_gladly_as_json() {
        for (accept, wanted) in [
            (None, true),
            (Some("*/*"), true),
            (Some("application/problem+json"), true),
            (Some("Application/*"), true),
            (Some("text/html, application/problem+json;q=0.5"), true),
            (Some("application/json;q=0.5, */*"), true),
            (Some("application/json"), false),
            (Some("text/html"), false),
            (Some("application/json, */*;q=0.1"), false),
            (Some("application/problem+json;q=0, */*"), false),
            (Some("*/*, application/problem+json; Q=0.000"), false),
            (Some("application/problem+json;q=nonsense"), false),
            (Some("application/problem+json-and-more"), false),
            (Some(""), false),
        ] {
            let headers =
                HeaderMap::from_iter(accept.map(|accept| (ACCEPT, accept.parse().unwrap())));
            assert_eq!(
                prefers(&headers, "application/problem+json", "application/json"),
                wanted,
                "{accept:?}"
            );
        }
    }
}
