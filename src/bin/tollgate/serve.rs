//! The server from start to stop.

use std::{io::Write, process::ExitCode};

use tokio::signal::unix::{SignalKind, signal};

use crate::{app::App, cli::Serve, config::Settings, listen::Server, log};

/// Runs the server with these flags. What is wrong with the settings is told in one line, and ends with code 2.
pub(crate) fn run(flags: Serve) -> ExitCode {
    let loaded = Settings::load(flags).and_then(|settings| log::filter().map(|filter| (settings, filter)));
    let (settings, filter) = match loaded {
        Ok(loaded) => loaded,
        Err(line) => return failed(&line, ExitCode::from(2)),
    };
    log::init(filter);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string(), ExitCode::FAILURE),
    };
    runtime.block_on(async {
        match App::new(&settings).await {
            Ok(app) => match serve(&settings, app).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(line) => failed(&line, ExitCode::FAILURE),
            },
            Err(line) => failed(&line, ExitCode::from(2)),
        }
    })
}

fn failed(line: &str, code: ExitCode) -> ExitCode {
    eprintln!("tollgate: {line}");
    code
}

async fn serve(settings: &Settings, app: App) -> Result<(), String> {
    // Before anybody can know that we run.
    let on = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let failed = |error: std::io::Error| format!("--listen: {}: {error}", settings.listen);
    let server = Server::bind(settings.listen, app).map_err(failed)?;
    let address = server.address().map_err(failed)?;
    let backend = if settings.redis.is_some() { "redis" } else { "memory" };
    tracing::info!(%address, quota = %settings.quota, rules = settings.rules.len(), backend, "started");
    // Nobody may be reading: then it is still a server.
    let _ = writeln!(std::io::stdout(), "Listening on http://{address}");
    let mut signal = "";
    let stop = async {
        signal = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        tracing::debug!(signal, "stopping");
    };
    server.run(stop).await;
    tracing::info!(signal, "stopped");
    Ok(())
}
