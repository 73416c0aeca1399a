//! Patterns of requests: methods and a path.

use std::fmt;

use hyper::Method;

use super::path_pattern::{PathPattern, Specificity};
use crate::values::Value;

/// Pattern of requests, such as `POST /login`, `GET,HEAD *`, `/api/*` or `DELETE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestPattern {
    text: String,
    /// Empty: all methods.
    methods: Vec<Method>,
    /// `None`: all paths.
    path: Option<PathPattern>,
}

impl RequestPattern {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn path(&self) -> Option<&PathPattern> {
        self.path.as_ref()
    }

    pub(crate) fn depends_on_method(&self) -> bool {
        !self.methods.is_empty()
    }

    /// Returns true if the pattern is for this method. One for GET is for HEAD as well. Some servers
    /// ignore the letter case of methods.
    pub(crate) fn has_method(&self, method: &str) -> bool {
        let is = |own: &Method| {
            let is_same = |name: &str| own.as_str().eq_ignore_ascii_case(name);
            is_same(method) || *own == Method::GET && method.eq_ignore_ascii_case("HEAD")
        };
        self.methods.is_empty() || self.methods.iter().any(is)
    }

    pub(crate) fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// Returns how closely the pattern describes a request: a path counts more than a method.
    pub(crate) fn specificity(&self) -> (Option<Specificity>, bool) {
        let path = self.path.as_ref().map(PathPattern::specificity);
        (path, self.depends_on_method())
    }

    /// Returns the pattern for names whose letter case is folded.
    pub(crate) fn folded(self) -> RequestPattern {
        let path = self.path.as_ref().map(PathPattern::folded);
        RequestPattern { path, ..self }
    }
}

impl Value for RequestPattern {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("methods, a path or both, such as \"POST /login\", \"/api/*\", \"/users/{id}\", \"*.php\" or \"GET,HEAD *\"")
    }

    fn from_text(text: &str) -> Option<RequestPattern> {
        let mut words = text.split_ascii_whitespace();
        let (methods, path) = match (words.next()?, words.next(), words.next()) {
            (path, None, None) if path.starts_with(['/', '*']) => ("*", path),
            (methods, None, None) => (methods, "*"),
            (methods, Some(path), None) => (methods, path),
            _ => return None,
        };
        let methods = match methods {
            "*" => Vec::new(),
            list => list
                .split(',')
                .map(Method::from_text)
                .collect::<Option<_>>()?,
        };
        let path = match path {
            "*" => None,
            path => Some(PathPattern::parse(path).ok()?),
        };
        Some(RequestPattern {
            text: text.to_owned(),
            methods,
            path,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_paths_are_optional() {
        for (text, methods, has_path) in [
            ("*", 0, false),
            ("* *", 0, false),
            ("GET", 1, false),
            ("GET,POST *", 2, false),
            ("/api/*", 0, true),
            ("* /api/*", 0, true),
            ("POST /login", 1, true),
            ("*.php", 0, true),
        ] {
            let pattern = RequestPattern::from_text(text).unwrap();
            assert_eq!(pattern.methods.len(), methods, "{text}");
            assert_eq!(pattern.path.is_some(), has_path, "{text}");
        }
        for text in [
            "",
            " ",
            "get /a",
            "GET, POST /a",
            "/a /b",
            "GET a",
            "GET POST /a",
        ] {
            assert_eq!(RequestPattern::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn get_is_for_head_and_letter_case_is_ignored() {
        let pattern = RequestPattern::from_text("GET,POST /a").unwrap();
        for method in ["GET", "get", "HEAD", "Post"] {
            assert!(pattern.has_method(method), "{method}");
        }
        assert!(!pattern.has_method("PUT"));
    }
}
