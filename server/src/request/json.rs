//! JSON request bodies.

use serde::Deserialize;

use crate::response::{self, Response};

/// Error in a JSON body. The field is empty when the error concerns the whole body.
#[derive(Debug)]
pub(crate) struct JsonError {
    field: String,
    message: String,
}

impl JsonError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> JsonError {
        JsonError {
            field: field.into(),
            message: message.into(),
        }
    }

    /// Returns a 400 response that names the field.
    pub(crate) fn response(&self) -> Response {
        response::bad_request(&self.field, &self.message)
    }
}

/// Deserializes the whole body as one value.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        // A quota names itself, as its key often does.
        let message = message
            .strip_prefix(&format!("{path}: "))
            .unwrap_or(&message);
        JsonError::new(path.trim_matches('.'), message)
    })?;
    deserializer
        .end()
        .map_err(|error| JsonError::new("", error.to_string()))?;
    Ok(value)
}
