//! Start and stop of the server: settings, signals and shutdown.

use std::{
    io::Write,
    process::{self, ExitCode},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::{
    adoption,
    app::App,
    cli::Serve,
    config::Settings,
    descriptors::{self, OpenFiles},
    http::Server,
    log,
    reload::Reloader,
};

/// Runs the server until a signal stops it. An error in the settings is one line, and the exit code
/// is 2.
pub(crate) fn run(flags: Serve) -> ExitCode {
    let loaded = Settings::load(flags.clone())
        .and_then(|settings| log::filter().map(|filter| (settings, filter)));
    let (settings, filter) = match loaded {
        Ok(loaded) => loaded,
        Err(line) => return failed(&line, ExitCode::from(2)),
    };
    log::init(filter);
    let open_files = descriptors::raise();
    // Connections run on the workers' threads.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string(), ExitCode::FAILURE),
    };
    runtime.block_on(async {
        match App::new(&settings).await {
            Ok(app) => match serve(flags, settings, app, open_files).await {
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

async fn serve(
    flags: Serve,
    settings: Settings,
    app: App,
    open_files: OpenFiles,
) -> Result<(), String> {
    // Handlers are installed before the address is printed: a signal after that is not lost.
    let on = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut interrupt, mut terminate) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let hangup = on(SignalKind::hangup())?;
    let failed = |error: std::io::Error| format!("--listen: {}: {error}", settings.listen);
    let default = app.default_quota();
    if let Some(effective) = default.filter(|effective| *effective != settings.quota) {
        tracing::warn!(
            configured = %settings.quota, %effective,
            "default quota in Redis differs from the configuration; POST /config changes it for all instances"
        );
    }
    let max_connections = open_files.max_connections(&settings);
    let mut server = Server::bind(settings.listen, app, max_connections).map_err(failed)?;
    if let Some(listen) = &settings.admin.listen {
        let bound = server.bind_admin(listen);
        bound.map_err(|error| format!("--admin-listen: {listen}: {error}"))?;
    }
    let address = server.address().map_err(failed)?;
    let backend = if settings.redis.is_some() {
        "redis"
    } else {
        "memory"
    };
    let raised_from = open_files
        .before
        .filter(|_| open_files.before != open_files.now);
    let admin_address = server.admin_address().map_err(failed)?;
    let open = settings.open_endpoints(admin_address).to_string();
    tracing::info!(
        %address, quota = default.map(tracing::field::display),
        rules = settings.rules.len(), backend, open, max_connections,
        open_files = open_files.now, raised_from, "started"
    );
    settings.log_warnings();
    if settings.state.is_some() {
        tokio::spawn(adoption::log(server.current()));
    }
    let reload = tokio::spawn(Reloader::new(flags, settings, server.current()).run(hangup));
    // A closed standard output does not stop the server.
    let _ = writeln!(std::io::stdout(), "Listening on http://{address} ({open})");
    let (stopping, stop) = oneshot::channel();
    tokio::spawn(async move {
        // The receiver is gone when the server has already ended.
        let _ = stopping.send(next_signal(&mut interrupt, &mut terminate).await);
        let signal = next_signal(&mut interrupt, &mut terminate).await;
        tracing::warn!(signal, "second signal; stopped at once");
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

/// Waits for the next signal that stops the server, and returns its name.
async fn next_signal(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
