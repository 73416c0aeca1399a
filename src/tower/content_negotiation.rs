//! Content negotiation by the `Accept` header (RFC 9110, section 12.5.1).

use http::{HeaderMap, header::ACCEPT};

/// Weight of a media range without a `q` parameter, in thousandths.
const DEFAULT_WEIGHT: u16 = 1000;

/// Returns the media type that a request's `Accept` header weights highest, for a response of one's
/// own: the first of equal ones, and `None` when it accepts none of them.
///
/// ```
/// use http::{HeaderMap, header::ACCEPT};
/// use tollgate::tower::preferred_media_type;
///
/// let browser = HeaderMap::from_iter([(ACCEPT, "text/html, */*;q=0.8".parse()?)]);
/// let offered = ["application/json", "text/html"];
/// assert_eq!(preferred_media_type(&browser, offered), Some("text/html"));
/// assert_eq!(preferred_media_type(&HeaderMap::new(), offered), Some("application/json"));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[must_use]
pub fn preferred_media_type<'a>(
    request: &HeaderMap,
    offered: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let mut offered = offered.into_iter();
    if !request.contains_key(ACCEPT) {
        return offered.next();
    }
    let weighted = offered.map(|media_type| (weight(request, media_type), media_type));
    let best = weighted.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.filter(|(weight, _)| *weight > 0)
        .map(|(_, media_type)| media_type)
}

/// Returns whether the client accepts `media_type` with at least the weight of `alternative`.
pub(super) fn prefers(request: &HeaderMap, media_type: &str, alternative: &str) -> bool {
    if !request.contains_key(ACCEPT) {
        return true;
    }
    let preferred = weight(request, media_type);
    preferred > 0 && preferred >= weight(request, alternative)
}

/// Weight of the most specific media range that matches `media_type`, or 0 without a match.
fn weight(request: &HeaderMap, media_type: &str) -> u16 {
    let ranges = request
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','));
    let matching = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let specificity = specificity(parts.next()?, media_type)?;
        Some((
            specificity,
            parts.find_map(quality).unwrap_or(DEFAULT_WEIGHT),
        ))
    });
    matching
        .max_by_key(|(specificity, _)| *specificity)
        .map_or(0, |(_, weight)| weight)
}

/// Specificity of a media range that matches `media_type`: 0 for `*/*`, 1 for `type/*`, 2 for an
/// exact match. `None` when the range does not match.
fn specificity(range: &str, media_type: &str) -> Option<u8> {
    let main_type = |text: &str| text.split('/').next().map(str::to_ascii_lowercase);
    match range {
        "*/*" => Some(0),
        range if range.eq_ignore_ascii_case(media_type) => Some(2),
        range if range.ends_with("/*") && main_type(range) == main_type(media_type) => Some(1),
        _ => None,
    }
}

/// Weight of a `q` parameter, or `None` for another parameter. A malformed value weighs 0.
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    let weight = || {
        Some((value.trim().parse::<f32>().ok()?.clamp(0.0, 1.0) * f32::from(DEFAULT_WEIGHT)) as u16)
    };
    name.trim()
        .eq_ignore_ascii_case("q")
        .then(|| weight().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_json_is_preferred_when_weighted_at_least_as_json() {
        for (accept, expected) in [
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
                expected,
                "{accept:?}"
            );
        }
    }
}
