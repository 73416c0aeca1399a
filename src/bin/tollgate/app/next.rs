//! From one configuration to the next, while requests come in.

use std::sync::Arc;

use super::App;
use crate::{config::Settings, gateway::Gateway, limits::Terms};

impl App {
    /// The state under new settings, whose limits are in force when it returns. An error has changed nothing.
    pub(crate) async fn next(&self, old: &Settings, new: &Settings) -> Result<App, String> {
        let gateway = match &new.gateway {
            // Its connections stay.
            same if *same == old.gateway => self.gateway.clone(),
            other => other.as_ref().map(Gateway::new).transpose()?.map(Arc::new),
        };
        let next = App::of(new, Arc::clone(&self.limits), gateway, Arc::clone(&self.metrics), self.generation + 1);
        let terms = Terms { default: new.quota, rules: next.rules(new)? };
        let before = Terms { default: old.quota, rules: self.rules(old)? };
        self.limits.take_over(before, terms).await.map_err(|error| format!("rules: {error}"))?;
        Ok(next)
    }
}
