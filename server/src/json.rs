//! What requests say in JSON, and what is wrong with it.

use hyper::StatusCode;
use serde::Deserialize;

use crate::answer::{self, Answer};

/// What is wrong with a body. An empty field: the whole of it.
#[derive(Debug)]
pub(crate) struct Fault {
    field: String,
    message: String,
}

impl Fault {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Fault {
        Fault {
            field: field.into(),
            message: message.into(),
        }
    }

    /// 400, with the field named.
    pub(crate) fn answer(&self) -> Answer {
        bad(&self.field, &self.message)
    }
}

/// Reads the whole body as one value.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Fault> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        Fault::new(
            error.path().to_string().trim_matches('.'),
            error.inner().to_string(),
        )
    })?;
    deserializer
        .end()
        .map_err(|error| Fault::new("", error.to_string()))?;
    Ok(value)
}

/// 400, with the field named.
pub(crate) fn bad(field: &str, message: &str) -> Answer {
    let message = if field.is_empty() {
        message.to_owned()
    } else {
        format!("{field}: {message}")
    };
    answer::error(StatusCode::BAD_REQUEST, &message)
}
