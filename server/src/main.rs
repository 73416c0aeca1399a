//! The server `tollgate`: token buckets in front of real traffic, and a tool to watch them at work.

mod app;
mod cli;
mod config;
mod endpoint;
mod handlers;
mod healthcheck;
mod http;
mod limit;
mod log;
mod metrics;
mod pipeline;
mod proxy;
mod reload;
mod request;
mod response;
mod serve;
mod stress;
mod values;
mod workers;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// glibc's allocator gives the memory of headers back to the system and fetches it again all the
/// time under load, and keeps what a crowd of connections took. This one gives back, within
/// seconds, what nobody needs any more.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Cli::try_parse() {
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
