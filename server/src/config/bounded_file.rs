//! Files that the configuration names.

use std::{fs::File, io::Read};

/// Reads a text of at most `max` bytes. An error is one line, without the path.
pub(super) fn read(path: &str, max: u64) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(max + 1).read_to_string(&mut text));
    read.map_err(|error| error.to_string())?;
    if text.len() as u64 > max {
        return Err(format!("expected at most {max} bytes, got more"));
    }
    Ok(text)
}
