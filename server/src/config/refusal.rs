//! Responses to requests that a limit refuses.

use hyper::{
    StatusCode,
    header::{
        CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
        TRANSFER_ENCODING, UPGRADE,
    },
};

use super::{
    bounded_file,
    file::{self, Text},
};
use crate::values::{Syntax, Template};

/// Maximum length of a body in bytes.
const MAX_BODY: u64 = 65_536;

/// Headers that this server writes itself.
const RESERVED: [HeaderName; 6] = [
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    RETRY_AFTER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Response to requests that a limit refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// `None`: 429.
    pub(crate) status: Option<StatusCode>,
    /// By media type. Empty: the usual one.
    pub(crate) bodies: Vec<(&'static str, Template)>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// Validates the table, and reads the files that it names. An error is one line.
    pub(super) fn new(given: file::Refusal) -> Result<Refusal, String> {
        let status = given.status.and_then(|status| {
            // The type of the value bounds it.
            StatusCode::from_u16(u16::try_from(status.get()).ok()?).ok()
        });
        let texts = [
            ("json", "application/json", Syntax::Json, given.json),
            (
                "problem",
                "application/problem+json",
                Syntax::Json,
                given.problem,
            ),
            ("html", "text/html; charset=utf-8", Syntax::Html, given.html),
            (
                "text",
                "text/plain; charset=utf-8",
                Syntax::Plain,
                given.text,
            ),
        ];
        let mut bodies = Vec::new();
        for (key, media_type, syntax, text) in texts {
            let Some(text) = text else { continue };
            let template = read(&text).and_then(|text| Template::parse(&text, syntax));
            let template = template.map_err(|error| format!("{key}: {error}"))?;
            bodies.push((media_type, template));
        }
        let mut headers = Vec::new();
        for (name, value) in given.headers {
            let error = |expected: &str| format!("headers: expected {expected}, got {name:?}");
            let Ok(parsed) = name.parse::<HeaderName>() else {
                return Err(error("the name of a header"));
            };
            if RESERVED.contains(&parsed) {
                return Err(error("headers that this server does not write itself"));
            }
            let value = HeaderValue::from_str(&value)
                .map_err(|_| error("a value of visible ASCII characters"))?;
            headers.push((parsed, value));
        }
        Ok(Refusal {
            status,
            bodies,
            headers,
        })
    }
}

fn read(text: &Text) -> Result<String, String> {
    let path = match text {
        Text::Inline(text) => return Ok(text.clone()),
        Text::File(path) => path,
    };
    bounded_file::read(path, MAX_BODY).map_err(|error| format!("{path}: {error}"))
}
