//! How the state comes to be: at a start, and from one configuration to the next while requests
//! come in.

use std::{collections::HashSet, sync::Arc};

use tollgate::{BuildError, KeyedLimiter, KeyedLimiterBuilder, Quota};

use super::{App, charges::Charges};
use crate::{
    admin::Access,
    client::{Id, Identify},
    config::Settings,
    limits::{Limits, OfRoutes, Terms},
    metrics::Metrics,
    proxy::Gateway,
    values::Check,
};

impl App {
    /// The state at a start. An error is one line.
    pub(crate) async fn new(settings: &Settings) -> Result<App, String> {
        let limits = match &settings.redis {
            None => App::in_memory(settings, KeyedLimiter::builder(settings.quota))?,
            Some(redis) => {
                let shared = Limits::shared(redis, settings.quota, settings.max_clients).await;
                shared.map_err(|error| format!("redis: {error}"))?
            }
        };
        App::with(settings, limits).await
    }

    pub(super) fn in_memory(
        settings: &Settings,
        builder: KeyedLimiterBuilder,
    ) -> Result<Limits, String> {
        Limits::in_memory(builder.max_keys(settings.max_clients))
            .map_err(|error: BuildError| format!("max_clients: {error}"))
    }

    pub(super) async fn with(settings: &Settings, limits: Limits) -> Result<App, String> {
        let gateway = settings
            .gateway
            .as_ref()
            .map(Gateway::new)
            .transpose()?
            .map(Arc::new);
        let routes = OfRoutes::new(settings, &OfRoutes::default()).await?;
        let app = App::of(
            settings,
            Arc::new(limits),
            routes,
            gateway,
            Arc::default(),
            0,
        );
        app.limits
            .start_with(app.rules(settings)?)
            .await
            .map_err(|error| format!("rules: {error}"))?;
        Ok(app)
    }

    fn of(
        settings: &Settings,
        limits: Arc<Limits>,
        routes: OfRoutes,
        gateway: Option<Arc<Gateway>>,
        metrics: Arc<Metrics>,
        generation: u64,
    ) -> App {
        App {
            identify: Identify::new(settings),
            gateway,
            charges: Charges::new(settings, &metrics, &routes),
            access: Access::new("the admin API", settings.admin_token.clone()),
            askers: askers(settings),
            headers: settings.headers,
            limits,
            routes,
            bounds: settings.bounds,
            metrics,
            generation,
        }
    }

    /// The rules of the configuration.
    fn rules<'a>(&self, settings: &'a Settings) -> Result<Vec<(Id<'a>, Quota)>, String> {
        let (mut named, mut rules) = (HashSet::new(), Vec::new());
        for (number, rule) in settings.rules.iter().enumerate() {
            let id = self
                .client_named(&rule.client_id)
                .map_err(|error| format!("rules[{number}].client_id: {error}"))?;
            if !named.insert(id.name().into_owned()) {
                return Err(format!(
                    "rules[{number}].client_id: {:?}: expected each client once",
                    rule.client_id
                ));
            }
            rules.push((id, rule.quota));
        }
        Ok(rules)
    }

    /// The state under new settings, whose limits are in force when it returns. An error has
    /// changed nothing.
    pub(crate) async fn next(&self, old: &Settings, new: &Settings) -> Result<App, String> {
        let gateway = match &new.gateway {
            // Its connections stay.
            same if *same == old.gateway => self.gateway.clone(),
            other => other.as_ref().map(Gateway::new).transpose()?.map(Arc::new),
        };
        let before = Terms {
            default: old.quota,
            rules: self.rules(old)?,
        };
        // Clients are told apart as before, so that the rules can be read before anything is made
        // for them.
        let terms = Terms {
            default: new.quota,
            rules: self.rules(new)?,
        };
        let routes = OfRoutes::new(new, &self.routes).await?;
        self.limits
            .take_over(before, terms)
            .await
            .map_err(|error| format!("rules: {error}"))?;
        Ok(App::of(
            new,
            Arc::clone(&self.limits),
            routes,
            gateway,
            Arc::clone(&self.metrics),
            self.generation + 1,
        ))
    }
}

/// The admin's token opens this door as well.
fn askers(settings: &Settings) -> Option<Access> {
    let tokens = settings
        .check_token
        .iter()
        .chain(&settings.admin_token)
        .cloned();
    (settings.check == Check::Guarded).then(|| Access::new("POST /check", tokens))
}
