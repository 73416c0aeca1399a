//! The health check: one request, so that an image without a shell and without curl can say whether
//! its server is well.

use std::process::ExitCode;

use hyper::StatusCode;
use tokio::time::timeout;

use crate::{cli::Health, stress::target::Target};

/// Asks once. What is wrong is told in one line, and ends with code 1.
pub(crate) fn run(flags: &Health) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(ask(flags)))
    {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(line) => {
            eprintln!("tollgate health: {line}");
            ExitCode::FAILURE
        }
    }
}

/// What a server that is well has to say.
async fn ask(flags: &Health) -> Result<String, String> {
    let exchange = async {
        let target = Target::new(&flags.url)?;
        target.connect().await?.get(&target).await
    };
    match timeout(flags.timeout.0, exchange).await {
        Ok(Ok((StatusCode::OK, body))) => Ok(String::from_utf8_lossy(&body).into_owned()),
        Ok(Ok((status, _))) => Err(format!("{}: answered {status}", flags.url)),
        Ok(Err(line)) => Err(line),
        Err(_) => Err(format!(
            "{}: no answer in {}",
            flags.url,
            humantime::format_duration(flags.timeout.0)
        )),
    }
}
