//! The server `tollgate`: a rate limiter for HTTP, with a stress tool and a health check.

mod app;
mod cli;
mod config;
mod descriptors;
mod endpoint;
mod handlers;
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
mod reload;
mod request;
mod response;
mod serve;
mod stall;
mod stress;
mod values;
mod workers;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

/// Under load, glibc's allocator repeatedly returns the memory of headers to the system and requests
/// it again, and it keeps the memory of a burst of connections. jemalloc returns unused memory
/// within seconds.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
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
