//! SIGHUP: the configuration is read again while requests come in.
//!
//! Everything is read and checked before anything changes, so that a bad file changes nothing. Then
//! the default and the rules change in one step, since an administrator may be changing them as
//! well, and with one swap of a pointer all the rest; a request sees the old rest or the new one.
//! What only a start can change is left as it is, and told.

use std::{fs, sync::Arc};

use arc_swap::ArcSwap;
use tokio::signal::unix::Signal;

use crate::{app::App, cli::Serve, config::Settings};

/// The server's state: requests take the one that is there when they come.
pub(crate) type Current = Arc<ArcSwap<App>>;

/// What a server runs with, and what it takes new settings by.
pub(crate) struct Reload {
    flags: Serve,
    settings: Settings,
    current: Current,
}

impl Reload {
    pub(crate) fn new(flags: Serve, settings: Settings, current: Current) -> Reload {
        Reload {
            flags,
            settings,
            current,
        }
    }

    /// Reads the file at every signal, for ever.
    pub(crate) async fn at_each(mut self, mut signal: Signal) {
        while signal.recv().await.is_some() {
            let Some(file) = self.flags.config.clone() else {
                tracing::warn!("SIGHUP: there is no configuration file to read again");
                continue;
            };
            let file = file.display();
            match self.again().await {
                Ok(left) if left.is_empty() => {
                    tracing::info!(%file, "the configuration was read again")
                }
                Ok(left) => {
                    let left = left.join(", ");
                    tracing::warn!(%file, left, "the configuration was read again, but for what only a restart changes");
                }
                Err(line) => {
                    tracing::error!("the configuration was not taken, and nothing changed: {line}")
                }
            }
        }
    }

    /// Returns the keys that stay as they are until a restart.
    async fn again(&mut self) -> Result<Vec<&'static str>, String> {
        if let Some(file) = &self.flags.config
            && fs::metadata(file).is_ok_and(|file| file.len() == 0)
        {
            let file = file.display();
            return Err(format!(
                "{file}: it is empty, as it is while it is written: move a whole file into its place"
            ));
        }
        let mut new = Settings::load(self.flags.clone())?;
        let left = new.keep(&self.settings);
        let app = self
            .current
            .load_full()
            .reload(&self.settings, &new)
            .await?;
        self.current.store(Arc::new(app));
        for (key, old, new) in [
            ("admin_token", &self.settings.admin_token, &new.admin_token),
            ("check_token", &self.settings.check_token, &new.check_token),
        ] {
            if old.is_some() && new.is_none() {
                tracing::warn!("there is no {key} any more");
            }
        }
        self.settings = new;
        Ok(left)
    }
}
