//! Path of a directory.

use std::{fmt, path::PathBuf};

use super::parse::Value;

impl Value for PathBuf {
    fn expected(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the path of a directory, such as /run/tollgate")
    }

    fn from_text(text: &str) -> Option<PathBuf> {
        (!text.is_empty()).then(|| text.into())
    }
}
