//! Header fields that override the method of a request.
//!
//! Rails, Laravel, Symfony, ASP.NET and Express (method-override) serve a POST as the method that
//! such a field names. Whether the upstream does is unknown, so the request belongs to the routes of
//! all the methods.

use hyper::{HeaderMap, Method, header::HeaderName};

static NAMES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];

/// Maximum number of methods. Each is matched with the routes.
const MAX_METHODS: usize = 4;

/// Returns the methods that header fields name in place of the request's own. Servers read a list as
/// its first item, or not at all.
///
/// # Errors
/// The name of a field when there are more methods than a client has a use for.
pub(crate) fn method_overrides(headers: &HeaderMap) -> Result<Vec<Method>, &'static HeaderName> {
    let mut methods = Vec::new();
    for name in &NAMES {
        let values = headers.get_all(name).iter();
        for item in values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
            // Servers ignore what is no method.
            let Ok(method) = Method::from_bytes(item.trim_ascii()) else {
                continue;
            };
            if methods.contains(&method) {
                continue;
            }
            if methods.len() == MAX_METHODS {
                return Err(name);
            }
            methods.push(method);
        }
    }
    Ok(methods)
}

/// Returns true if the field overrides the method of a request.
pub(crate) fn overrides_method(name: &HeaderName) -> bool {
    NAMES.contains(name)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn methods(fields: &[(&'static str, &'static str)]) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let methods = method_overrides(&headers).map_err(ToString::to_string)?;
        let names: Vec<_> = methods.iter().map(Method::as_str).collect();
        Ok(names.join(" "))
    }

    #[test]
    fn every_field_and_item_counts_once() {
        assert_eq!(methods(&[("x-other", "DELETE")]), Ok(String::new()));
        assert_eq!(
            methods(&[
                ("x-http-method-override", "DELETE"),
                ("x-http-method-override", " delete , DELETE"),
                ("x-http-method", "PUT"),
                ("x-method-override", "not a method,,PATCH"),
            ]),
            Ok("DELETE delete PUT PATCH".to_owned())
        );
    }

    #[test]
    fn the_number_of_methods_is_bounded() {
        assert_eq!(
            methods(&[("x-http-method", "A,B"), ("x-method-override", "B,C,D,E")]),
            Err("x-method-override".to_owned())
        );
    }
}
