//! Health check command: one request to the server, for images without a shell and without curl.

use std::process::ExitCode;

use hyper::StatusCode;
use tokio::time::timeout;

use crate::{
    cli::{Health, HealthUrl},
    stdout,
    stress::client::Target,
};

/// Runs the check once and prints the response. An error is one line, with exit code 1.
pub(crate) fn run(flags: &Health) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(check(flags)))
    {
        Ok(body) => {
            stdout::print(&format!("{body}\n"));
            ExitCode::SUCCESS
        }
        Err(line) => {
            eprintln!("tollgate health: {line}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the body of a healthy server's response.
async fn check(flags: &Health) -> Result<String, String> {
    let exchange = async {
        let target = match &flags.url {
            HealthUrl::Http(url) => Target::new(url)?,
            HealthUrl::Socket(path) => Target::on_socket(path, "/health"),
        };
        target.connect().await?.get(&target).await
    };
    match timeout(flags.timeout.get(), exchange).await {
        Ok(Ok((StatusCode::OK, body))) => Ok(String::from_utf8_lossy(&body).into_owned()),
        Ok(Ok((status, _))) => Err(format!("{}: expected 200 OK, got {status}", flags.url)),
        Ok(Err(line)) => Err(line),
        Err(_) => Err(format!(
            "{}: no response in {}",
            flags.url,
            humantime::format_duration(flags.timeout.get())
        )),
    }
}
