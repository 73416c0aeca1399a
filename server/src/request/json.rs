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
        JsonError::new(
            error.path().to_string().trim_matches('.'),
            error.inner().to_string(),
        )
    })?;
    deserializer
        .end()
        .map_err(|error| JsonError::new("", error.to_string()))?;
    Ok(value)
}
