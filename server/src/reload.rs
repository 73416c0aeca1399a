//! Reload of the configuration on SIGHUP, while requests are served.
//!
//! The whole file is read and validated before anything changes, so an invalid file changes
//! nothing. Then the default quota and the rules change in one step, since an administrator may
//! change them at the same time, and everything else with one swap of a pointer: a request uses
//! either the old state or the new one. Settings that only a restart changes keep their values and
//! are logged.

use std::{fs, sync::Arc};

use tokio::signal::unix::Signal;

use crate::{app::CurrentApp, cli::Serve, config::Settings};

/// Reloads the configuration of a running server.
pub(crate) struct Reloader {
    flags: Serve,
    settings: Settings,
    current: CurrentApp,
}

impl Reloader {
    pub(crate) fn new(flags: Serve, settings: Settings, current: CurrentApp) -> Reloader {
        Reloader {
            flags,
            settings,
            current,
        }
    }

    /// Reloads at every signal. Never returns while the signal is delivered.
    pub(crate) async fn run(mut self, mut signal: Signal) {
        while signal.recv().await.is_some() {
            let Some(file) = self.flags.config.clone() else {
                tracing::warn!("SIGHUP ignored: no configuration file");
                continue;
            };
            let file = file.display();
            match self.reload().await {
                Ok(ignored) if ignored.is_empty() => {
                    tracing::info!(%file, "configuration reloaded")
                }
                Ok(ignored) => {
                    let ignored = ignored.join(", ");
                    tracing::warn!(%file, ignored, "configuration reloaded; ignored keys need a restart");
                }
                Err(error) => {
                    tracing::error!(%error, "configuration not reloaded; nothing changed")
                }
            }
        }
    }

    /// Returns the keys whose new value is ignored until a restart.
    async fn reload(&mut self) -> Result<Vec<&'static str>, String> {
        if let Some(file) = &self.flags.config
            && fs::metadata(file).is_ok_and(|file| file.len() == 0)
        {
            let file = file.display();
            return Err(format!(
                "{file}: expected a whole file, got an empty one, which may still be written: replace the file with mv"
            ));
        }
        let mut new = Settings::load(self.flags.clone())?;
        let ignored = retain_restart_only(&mut new, &self.settings);
        // The addresses that stay may not be those of the file.
        new.validate()?;
        let app = self
            .current
            .load_full()
            .reload(&self.settings, &new)
            .await?;
        self.current.store(Arc::new(app));
        for (key, old, new) in [
            ("admin_token", &self.settings.admin.token, &new.admin.token),
            (
                "check_token",
                &self.settings.admin.check_token,
                &new.admin.check_token,
            ),
        ] {
            if old.is_some() && new.is_none() {
                tracing::warn!(key, "token removed");
            }
        }
        new.log_warnings();
        self.settings = new;
        Ok(ignored)
    }
}

/// Copies from the current settings those that only a restart changes, to the new ones. Returns the keys whose
/// new value is therefore ignored.
fn retain_restart_only(new: &mut Settings, current: &Settings) -> Vec<&'static str> {
    let mut ignored = Vec::new();
    let mut differs = |key, differs: bool| {
        if differs {
            ignored.push(key);
        }
        differs
    };
    if differs("listen", new.listen != current.listen) {
        new.listen = current.listen;
    }
    if differs("admin_listen", new.admin.listen != current.admin.listen) {
        new.admin.listen = current.admin.listen.clone();
    }
    // The table of clients stays, so an entry must mean the same client before and after.
    if differs("client", new.client != current.client)
        | differs("ipv6_prefix", new.ipv6_prefix != current.ipv6_prefix)
        | differs(
            "nat64_prefixes",
            new.nat64_prefixes != current.nat64_prefixes,
        )
    {
        (new.client, new.ipv6_prefix) = (current.client.clone(), current.ipv6_prefix);
        new.nat64_prefixes = current.nat64_prefixes.clone();
        // The new ones name clients of the other kind.
        (new.api_keys, new.rules) = (current.api_keys.clone(), current.rules.clone());
    }
    if differs("max_clients", new.max_clients != current.max_clients) {
        new.max_clients = current.max_clients;
    }
    if differs("state", new.state != current.state) {
        new.state = current.state.clone();
    }
    if differs("redis", new.redis != current.redis) {
        new.redis = current.redis.clone();
    }
    // Connections are set up with or without support for upgrades.
    let kind_differs = differs(
        "upstream",
        new.gateway.is_some() != current.gateway.is_some(),
    );
    if kind_differs {
        new.gateway = current.gateway.clone();
    }
    // Their defaults depend on whether there is an upstream.
    if kind_differs || differs("connections", new.connections != current.connections) {
        new.connections = current.connections;
    }
    // Instances share the default quota in Redis: one instance's file does not change it, but
    // POST /config does.
    if new.redis.is_some()
        && differs(
            "capacity and refill (shared: POST /config changes them)",
            new.quota != current.quota,
        )
    {
        new.quota = current.quota;
    }
    ignored
}
