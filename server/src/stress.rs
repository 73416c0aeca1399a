//! Stress tool: prints a transcript of single requests, or measures a server under load.

pub(crate) mod client;
mod load;
mod python_repr;
mod report;
mod transcript;

use std::process::ExitCode;

use crate::cli::Stress;

/// Runs the tool. An error is one line, with exit code 1.
pub(crate) fn run(flags: &Stress) -> ExitCode {
    let is_load = flags.concurrency.is_some() || flags.duration.is_some();
    let work = async {
        if is_load {
            load::run(flags).await
        } else {
            transcript::run(flags).await
        }
    };
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match result
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(work))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            eprintln!("tollgate stress: {line}");
            ExitCode::FAILURE
        }
    }
}
