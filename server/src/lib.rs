//! The server `tollgate`: a rate limiter for HTTP, with a stress tool and a health check.
//!
//! A library for the binary and for the fuzz targets, and without a stable interface.

mod adoption;
mod app;
mod cli;
mod client_slots;
mod config;
mod convert;
mod descriptors;
mod endpoint;
mod explain;
#[cfg(fuzzing)]
pub mod fuzz;
mod handlers;
mod handover;
mod healthcheck;
mod http;
mod limit;
mod log;
mod memory;
mod metrics;
mod outage;
mod pipeline;
mod placement;
mod proxy;
mod refusals;
mod reload;
mod request;
mod response;
mod serve;
mod stall;
mod state_copy;
mod stdout;
mod stress;
mod values;
mod workers;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

/// Runs the command that the arguments of the process select. Returns its exit code.
pub fn run() -> ExitCode {
    match Cli::from_arguments(std::env::args_os()) {
        Ok(Cli {
            command: Some(Command::Stress(flags)),
            ..
        }) => stress::run(&flags),
        Ok(Cli {
            command: Some(Command::Health(flags)),
            ..
        }) => healthcheck::run(&flags),
        Ok(Cli {
            command: Some(Command::Check(flags)),
            ..
        }) => explain::check(&flags),
        Ok(Cli {
            command: Some(Command::Explain(flags)),
            ..
        }) => explain::explain(&flags),
        Ok(Cli {
            command: Some(Command::Convert(flags)),
            ..
        }) => convert::run(&flags),
        Ok(Cli {
            command: None,
            serve,
        }) => serve::run(serve),
        // Help and version.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            eprintln!("tollgate: {}", cli::one_line(&error, std::env::args_os()));
            ExitCode::from(2)
        }
    }
}
