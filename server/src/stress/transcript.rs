//! Transcript: sequential requests on one connection, and a line for each response.

use std::{
    io::{self, Write},
    time::Duration,
};

use hyper::StatusCode;

use super::{client::Target, python_repr::PythonRepr};
use crate::cli::Stress;

const TOTAL: u64 = 20;
const INTERVAL: Duration = Duration::from_millis(200);

pub(super) async fn run(flags: &Stress) -> Result<(), String> {
    let target = Target::new(&flags.url)?;
    let total = flags.total.map_or(TOTAL, |total| total.get());
    let interval = flags.interval.map_or(INTERVAL, |interval| interval.get());
    let mut connection = target.connect().await?;
    for number in 1..=total {
        if !connection.is_open().await {
            connection = target.connect().await?;
        }
        let (status, body) = connection.get(&target).await?;
        match writeln!(io::stdout(), "{}", line(number, status, &body)) {
            // The reader has closed the pipe, for example `head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|error| error.to_string())?,
        }
        if number < total {
            tokio::time::sleep(interval).await;
        }
    }
    Ok(())
}

/// Line of a response: `01: {…}` on success, else `13: 429 - {'error': …}`.
fn line(number: u64, status: StatusCode, body: &[u8]) -> String {
    let value: Result<PythonRepr, _> = serde_json::from_slice(body);
    let text = match &value {
        Ok(value) => value.to_string(),
        Err(_) => PythonRepr::quoted(&String::from_utf8_lossy(body)),
    };
    if status.is_success() {
        return format!("{number:02}: {text}");
    }
    let error = value.ok().and_then(|value| {
        value
            .field("error")
            .map(|error| format!("{{'error': {error}}}"))
    });
    format!(
        "{number:02}: {} - {}",
        status.as_u16(),
        error.unwrap_or(text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_format_of_the_python_tool() {
        let allowed = br#"{"from": "127.0.0.1", "message": "Access granted"}"#;
        assert_eq!(
            line(1, StatusCode::OK, allowed),
            "01: {'from': '127.0.0.1', 'message': 'Access granted'}"
        );
        let refused = br#"{"error": "Too Many Requests", "message": "Rate limit exceeded", "retry_after": 0.93}"#;
        assert_eq!(
            line(13, StatusCode::TOO_MANY_REQUESTS, refused),
            "13: 429 - {'error': 'Too Many Requests'}"
        );
        assert_eq!(
            line(100, StatusCode::NOT_FOUND, br#"{"b": [1, true, null]}"#),
            "100: 404 - {'b': [1, True, None]}"
        );
        assert_eq!(
            line(7, StatusCode::BAD_GATEWAY, b"it's down"),
            "07: 502 - \"it's down\""
        );
    }
}
