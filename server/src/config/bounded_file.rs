//! Files that the configuration names.

use std::{
    fs::{self, File},
    io::Read,
};

/// Reads a text of at most `max` bytes. An error is one line, without the path.
pub(super) fn read(path: &str, max: u64) -> Result<String, String> {
    // Opening a pipe waits for its writer, and a device may have no end.
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() {
            "a directory"
        } else {
            "a pipe, a socket or a device"
        };
        return Err(format!("expected a regular file, got {kind}"));
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(max + 1).read_to_string(&mut text));
    read.map_err(|error| error.to_string())?;
    if text.len() as u64 > max {
        return Err(format!("expected at most {max} bytes, got more"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process::Command, sync::mpsc, thread, time::Duration};

    use super::*;

    #[test]
    fn special_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let made = Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(made.success());
        symlink(path("pipe"), path("link-to-pipe")).unwrap();
        let special = "expected a regular file, got a pipe, a socket or a device";
        for (given, expected) in [
            (path("pipe"), special),
            (path("link-to-pipe"), special),
            ("/dev/zero".to_owned(), special),
            (path(""), "expected a regular file, got a directory"),
        ] {
            let (sender, receiver) = mpsc::channel();
            let name = given.clone();
            thread::spawn(move || sender.send(read(&name, 10)));
            let result = receiver.recv_timeout(Duration::from_secs(10));
            assert_eq!(result, Ok(Err(expected.to_owned())), "{given}");
        }
        fs::write(path("file"), "text").unwrap();
        symlink(path("file"), path("link")).unwrap();
        assert_eq!(read(&path("link"), 10), Ok("text".to_owned()));
    }
}
