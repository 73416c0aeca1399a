//! Output of the commands.

use std::io::{self, Write};

/// Writes a text to standard output. A reader that has gone, such as `head`, is no error.
pub(crate) fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}
