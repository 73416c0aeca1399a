//! Start and stop of the server: settings, signals and shutdown.

use std::{
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    process::{self, ExitCode},
    sync::atomic::Ordering,
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
    handover::{Given, Offer},
    http::{Listeners, Server},
    log,
    reload::Reloader,
    state_copy,
};

/// Runs the server until a signal stops it. An error in the settings is one line, and the exit code
/// is 2.
pub(crate) fn run(flags: Serve) -> ExitCode {
    let loaded = Settings::load(flags.clone())
        .and_then(|settings| log::filter().map(|filter| (settings, filter)));
    let (mut settings, filter) = match loaded {
        Ok(loaded) => loaded,
        Err(line) => return failed(&line, ExitCode::from(2)),
    };
    log::init(filter);
    let mut given = match given_sockets(&mut settings) {
        Ok(given) => given,
        Err(line) => return failed(&line, ExitCode::from(2)),
    };
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
        // First, since a process that cannot listen must not change what others share.
        let listeners = match listeners(&settings, &mut given) {
            Ok(listeners) => listeners,
            Err(line) => return failed(&line, ExitCode::FAILURE),
        };
        match App::new(&settings).await {
            Ok(app) => match serve(flags, settings, app, open_files, (listeners, given)).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(line) => failed(&line, ExitCode::FAILURE),
            },
            Err(line) => failed(&line, ExitCode::from(2)),
        }
    })
}

/// Takes the listening sockets that systemd or an older process gives. Where systemd gives the public one,
/// its address is the one that is listened on, whatever the settings say.
fn given_sockets(settings: &mut Settings) -> Result<Given, String> {
    let admin = settings.admin.listen.as_ref();
    let given = Given::from_systemd(admin).map_err(|error| format!("LISTEN_FDS: {error}"))?;
    if let Some(public) = &given.public {
        settings.listen = public
            .local_addr()
            .map_err(|error| format!("LISTEN_FDS: {error}"))?;
        settings.validate()?;
        return Ok(given);
    }
    let older = settings
        .state
        .as_ref()
        .map(|state| Given::from_older(&state.directory, settings.listen, admin));
    Ok(older.unwrap_or_default())
}

fn failed(line: &str, code: ExitCode) -> ExitCode {
    eprintln!("tollgate: {line}");
    code
}

/// Listens at the addresses of the settings, or at the sockets that are given.
fn listeners(settings: &Settings, given: &mut Given) -> Result<Listeners, String> {
    let listen = settings.listen;
    let mut listeners = Listeners::bind(listen, given.public.take())
        .map_err(|error| format!("--listen: {listen}: {error}"))?;
    if let Some(listen) = &settings.admin.listen {
        let bound = listeners.bind_admin(listen, given.admin.take());
        bound.map_err(|error| format!("--admin-listen: {listen}: {error}"))?;
    }
    Ok(listeners)
}

async fn serve(
    flags: Serve,
    settings: Settings,
    app: App,
    open_files: OpenFiles,
    (listeners, mut given): (Listeners, Given),
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
    let server = Server::new(listeners, app, max_connections).map_err(failed)?;
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
    let has_copy = settings
        .state
        .as_ref()
        .is_some_and(|state| state.copy.is_some());
    let copies = has_copy.then(|| tokio::spawn(state_copy::run(server.current())));
    let offered = settings
        .state
        .clone()
        .map(|state| (state.directory, settings.listen));
    let reload = tokio::spawn(Reloader::new(flags, settings, server.current()).run(hangup));
    if let Some(older) = given.older() {
        older.stop()?;
    }
    let offer = offer(offered, &server).await;
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
    let (mut signal, current) = ("", server.current());
    let is_sent = offer.as_ref().map(Offer::is_sent).unwrap_or_default();
    let handed_over = async move {
        match &offer {
            Some(offer) => offer.taken().await,
            None => std::future::pending().await,
        }
    };
    server
        .run(async {
            tokio::select! {
                received = stop => {
                    signal = received.unwrap_or_default();
                    tracing::debug!(signal, "stopping");
                    // A newer process may have the sockets already.
                    is_sent.load(Ordering::Relaxed)
                }
                () = handed_over => {
                    tracing::info!("listening sockets handed over to a newer process; stopping");
                    true
                }
            }
        })
        .await;
    reload.abort();
    if let Some(copies) = copies {
        copies.abort();
        state_copy::copy(current.load_full()).await;
    }
    tracing::info!(signal, "stopped");
    Ok(())
}

/// Offers the listening sockets to a newer process. Without the offer that one cannot take them over, which
/// is no reason to stop.
async fn offer(offered: Option<(PathBuf, SocketAddr)>, server: &Server) -> Option<Offer> {
    let (directory, listen) = offered?;
    match Offer::new(&directory, listen, server).await {
        Ok(offer) => offer,
        Err(error) => {
            tracing::warn!(%error, "listening sockets are not offered to newer processes");
            None
        }
    }
}

/// Waits for the next signal that stops the server, and returns its name.
async fn next_signal(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
