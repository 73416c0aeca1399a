//! Logging to standard error, filtered by `TOLLGATE_LOG` or `RUST_LOG`.

use std::{
    env,
    io::{self, IsTerminal},
};

use tracing_subscriber::EnvFilter;

/// Returns the filter of `TOLLGATE_LOG`, else of `RUST_LOG`, else `info`.
pub(crate) fn filter() -> Result<EnvFilter, String> {
    let named = |name| {
        env::var(name)
            .ok()
            .filter(|value| !value.is_empty())
            .map(|value| (name, value))
    };
    let Some((name, value)) = named("TOLLGATE_LOG").or_else(|| named("RUST_LOG")) else {
        return Ok(EnvFilter::new("info"));
    };
    EnvFilter::try_new(&value)
        .map_err(|_| format!("{name}: expected a level, such as debug, or a filter, got {value:?}"))
}

pub(crate) fn init(filter: EnvFilter) {
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}
