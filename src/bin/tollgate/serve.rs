//! The server from start to stop.

use std::{io::Write, process::ExitCode};

use tokio::signal::unix::{SignalKind, signal};

use crate::{app::App, cli::Serve, config::Settings, listen::Server, log};

/// Runs the server with these flags. What is wrong with the settings is told in one line, and ends with code 2.
pub(crate) fn run(flags: Serve) -> ExitCode {
    let started = Settings::load(flags).and_then(|settings| {
        let filter = log::filter()?;
        App::new(&settings).map(|app| (settings, app, filter))
    });
    let (settings, app, filter) = match started {
        Ok(started) => started,
        Err(line) => {
            eprintln!("tollgate: {line}");
            return ExitCode::from(2);
        }
    };
    log::init(filter);
    let result = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match result.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(serve(&settings, app))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            eprintln!("tollgate: {line}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: &Settings, app: App) -> Result<(), String> {
    // Before anybody can know that we run.
    let on = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let failed = |error: std::io::Error| format!("--listen: {}: {error}", settings.listen);
    let server = Server::bind(settings.listen, app).map_err(failed)?;
    let address = server.address().map_err(failed)?;
    tracing::info!(%address, quota = %settings.quota, rules = settings.rules.len(), "started");
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
