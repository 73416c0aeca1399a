//! The server from start to stop.

use std::{
    io::Write,
    process::{self, ExitCode},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::{app::App, cli::Serve, config::Settings, http::Server, log, reload::Reload};

/// Runs the server with these flags. What is wrong with the settings is told in one line, and ends
/// with code 2.
pub(crate) fn run(flags: Serve) -> ExitCode {
    let loaded = Settings::load(flags.clone())
        .and_then(|settings| log::filter().map(|filter| (settings, filter)));
    let (settings, filter) = match loaded {
        Ok(loaded) => loaded,
        Err(line) => return failed(&line, ExitCode::from(2)),
    };
    log::init(filter);
    // Connections have threads of their own.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string(), ExitCode::FAILURE),
    };
    runtime.block_on(async {
        match App::new(&settings).await {
            Ok(app) => match serve(flags, settings, app).await {
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

async fn serve(flags: Serve, settings: Settings, app: App) -> Result<(), String> {
    // Before anybody can know that we run.
    let on = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut interrupt, mut terminate) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let hangup = on(SignalKind::hangup())?;
    let failed = |error: std::io::Error| format!("--listen: {}: {error}", settings.listen);
    let in_force = app.quota();
    if in_force != settings.quota {
        tracing::warn!(
            configured = %settings.quota, %in_force,
            "another default limit is in force in Redis: POST /config changes it for all instances"
        );
    }
    let server = Server::bind(settings.listen, app).map_err(failed)?;
    let address = server.address().map_err(failed)?;
    let backend = if settings.redis.is_some() {
        "redis"
    } else {
        "memory"
    };
    tracing::info!(%address, quota = %in_force, rules = settings.rules.len(), backend, "started");
    let reload = tokio::spawn(Reload::new(flags, settings, server.current()).at_each(hangup));
    // Nobody may be reading: then it is still a server.
    let _ = writeln!(std::io::stdout(), "Listening on http://{address}");
    let (told, stop) = oneshot::channel();
    tokio::spawn(async move {
        // Nobody listens any more when the server has ended by itself.
        let _ = told.send(next(&mut interrupt, &mut terminate).await);
        let signal = next(&mut interrupt, &mut terminate).await;
        tracing::warn!(signal, "stopped at once, by a second signal");
        process::exit(1);
    });
    let mut signal = "";
    server
        .run(async {
            signal = stop.await.unwrap_or_default();
            tracing::debug!(signal, "stopping");
        })
        .await;
    reload.abort();
    tracing::info!(signal, "stopped");
    Ok(())
}

/// The next signal that ends the server.
async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
