//! State shared by all connections, and its construction at start and at a configuration reload.

use std::{
    borrow::Cow,
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::HeaderMap;
use tollgate::{
    BuildError, Clock, KeyedLimiter, KeyedLimiterBuilder, Quota,
    tower::{HeaderStyle, Refusal},
};

use crate::{
    config::{ConnectionLimits, Settings},
    limit::{
        ConfiguredLimits, Delay, EffectiveConfig, FailureLimit, Kind, Limiter, NamedLimits,
        Policies, Pricing, StateFile,
    },
    metrics::{Credential, Metrics, PerRoute},
    placement::{Placement, Port},
    proxy::{Gateway, Hop},
    refusals::Refusals,
    request::{
        access::Access,
        address_lists::AddressLists,
        client_id::ClientId,
        client_identifier::{ClientIdentifier, Peer},
        header_rules::HeaderRules,
        jwt::Jwt,
    },
    response::{self, Cors, Response},
    values::{Check, PolicyName},
};

/// Pointer to the current state. A reload swaps it; a request loads it once.
pub(crate) type CurrentApp = Arc<ArcSwap<App>>;

/// State of the server under one configuration. A reload replaces it; limiters, upstream
/// connections and counters are carried over.
pub(crate) struct App {
    pub(crate) clients: ClientIdentifier,
    /// Rules for the headers of forwarded requests.
    pub(crate) header_rules: Arc<HeaderRules>,
    /// `None`: no other origins are allowed.
    pub(crate) cors: Option<Arc<Cors>>,
    pub(crate) placement: Placement,
    /// `None`: the server responds to allowed requests itself.
    pub(crate) gateway: Option<Arc<Gateway>>,
    pub(crate) pricing: Pricing,
    pub(crate) admin_access: Access,
    /// Access to `POST /check`; `None`: open to all clients.
    pub(crate) check_access: Option<Access>,
    /// Limit of wrong tokens and unknown API keys.
    pub(crate) failures: Arc<FailureLimit>,
    /// Style of rate limit headers.
    pub(crate) header_style: HeaderStyle,
    pub(crate) refusals: Refusals,
    /// Verifier of tokens; `None`: no limit has a key of one.
    pub(crate) jwt: Option<Arc<Jwt>>,
    /// Default limiter, with the rules of clients.
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) route_limits: NamedLimits,
    /// Labels and costs of requests that charge the default buckets.
    default_costs: Vec<(String, u32)>,
    /// Limiters of the policies.
    named_limits: NamedLimits,
    /// `None`: there are only the default limit and those of routes.
    pub(crate) policies: Option<Policies>,
    /// `None`: no network is allowed or denied as a whole.
    pub(crate) lists: Option<AddressLists>,
    /// `None`: no request waits for its tokens.
    pub(crate) delay: Option<Arc<Delay>>,
    pub(crate) connection_limits: ConnectionLimits,
    pub(crate) metrics: Arc<Metrics>,
    /// Number of reloads so far.
    generation: u64,
}

/// Client side of a connection, with values that are computed once for all of its requests.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    pub(crate) port: Port,
    /// The peer in forwarding headers, computed at the first forwarded request.
    hop: OnceLock<Hop>,
    /// Body of `GET /` for the peer's own address.
    pub(crate) granted: Bytes,
    /// Generation of the configuration that determined whether the peer is trusted.
    generation: u64,
}

impl Caller {
    /// Changes the port of the connection.
    pub(crate) fn on(self, port: Port) -> Caller {
        Caller { port, ..self }
    }

    /// Returns the peer in the form of forwarding headers.
    pub(crate) fn hop(&self) -> &Hop {
        self.hop.get_or_init(|| Hop::new(self.peer.address))
    }
}

/// State that a reload carries over.
struct Carried {
    delay: Option<Arc<Delay>>,
    failures: Arc<FailureLimit>,
    metrics: Arc<Metrics>,
    /// Number of reloads so far.
    generation: u64,
}

impl App {
    /// Creates the state at start and connects to Redis.
    ///
    /// # Errors
    /// One line that names the setting.
    pub(crate) async fn new(settings: &Settings) -> Result<App, String> {
        let limiter = match (&settings.redis, &settings.state) {
            (None, Some(state)) => {
                let builder = KeyedLimiter::builder(settings.quota);
                let file = StateFile {
                    state,
                    kind: "default",
                    label: "",
                };
                Limiter::in_file(builder.max_keys(settings.max_clients), &file)?
            }
            (None, None) => App::in_memory(
                settings,
                KeyedLimiter::builder(settings.quota).clock(Clock::monotonic()),
            )?,
            (Some(redis), _) => {
                let (quota, max_clients) = (settings.quota, settings.max_clients);
                let clock = Clock::monotonic();
                let limiter = Limiter::in_redis(redis, quota, max_clients, clock).await;
                limiter.map_err(|error| format!("redis: {error}"))?
            }
        };
        App::with_limiter(settings, limiter, Clock::monotonic()).await
    }

    /// Creates the default limiter in memory.
    pub(crate) fn in_memory(
        settings: &Settings,
        builder: KeyedLimiterBuilder<ClientId<'static>>,
    ) -> Result<Limiter, String> {
        Limiter::in_memory(builder.max_keys(settings.max_clients))
            .map_err(|error: BuildError| format!("max_clients: {error}"))
    }

    /// Creates the state at start around a default limiter. All others decide by `clock`.
    pub(crate) async fn with_limiter(
        settings: &Settings,
        limiter: Limiter,
        clock: Clock,
    ) -> Result<App, String> {
        let gateway = settings.gateway.as_ref().map(Gateway::new).transpose()?;
        let route_limits = NamedLimits::none(Kind::Routes, clock.clone());
        let route_limits = route_limits.updated(settings).await?;
        let named_limits = NamedLimits::none(Kind::Limits, clock);
        let named_limits = named_limits.updated(settings).await?;
        let app = App::assemble(
            settings,
            Arc::new(limiter),
            (route_limits, named_limits),
            gateway.map(Arc::new),
            Carried {
                delay: None,
                failures: Arc::new(FailureLimit::new()?),
                metrics: Arc::default(),
                generation: 0,
            },
        );
        app.limiter
            .apply_initial_rules(app.rules(settings)?)
            .await
            .map_err(|error| format!("rules: {error}"))?;
        app.log_differences(settings);
        Ok(app)
    }

    fn assemble(
        settings: &Settings,
        limiter: Arc<Limiter>,
        (route_limits, named_limits): (NamedLimits, NamedLimits),
        gateway: Option<Arc<Gateway>>,
        carried: Carried,
    ) -> App {
        let Carried {
            delay,
            failures,
            metrics,
            generation,
        } = carried;
        let (admin, tokenless) = (&settings.admin, settings.tokenless());
        App {
            default_costs: settings.default_costs(),
            placement: settings.placement(),
            failures,
            clients: ClientIdentifier::new(settings),
            header_rules: Arc::new(HeaderRules::new(settings)),
            cors: settings
                .cors
                .clone()
                .map(|cors| Cors::new(cors, settings.headers)),
            gateway,
            pricing: Pricing::new(settings, &metrics, &route_limits),
            policies: Policies::new(settings, &metrics, &named_limits),
            admin_access: Access::new("the admin API", admin.token.clone(), tokenless),
            check_access: check_access(settings),
            header_style: settings.headers,
            refusals: Refusals::new(settings),
            jwt: settings.jwt.clone(),
            limiter,
            route_limits,
            named_limits,
            lists: AddressLists::new(&settings.lists),
            delay: settings.delay.map(|settings| {
                delay
                    .filter(|carried| carried.settings() == settings)
                    .unwrap_or_else(|| Arc::new(Delay::new(settings)))
            }),
            connection_limits: settings.connections,
            metrics,
            generation,
        }
    }

    /// Parses the client ids of the configured rules.
    fn rules<'a>(&self, settings: &'a Settings) -> Result<Vec<(ClientId<'a>, Quota)>, String> {
        let (mut names, mut rules) = (HashSet::new(), Vec::new());
        for (index, rule) in settings.rules.iter().enumerate() {
            let client = self
                .clients
                .parse(&rule.client_id)
                .map_err(|error| format!("rules[{index}].client_id: {error}"))?;
            if !names.insert(client.name().into_owned()) {
                return Err(format!(
                    "rules[{index}].client_id: expected each client once, got {} again",
                    self.clients.shown_name(rule.client_id.clone())
                ));
            }
            rules.push((client, rule.quota));
        }
        Ok(rules)
    }

    /// Creates the state for reloaded settings and applies their limits. An error is one line, and
    /// leaves everything unchanged.
    pub(crate) async fn reload(&self, old: &Settings, new: &Settings) -> Result<App, String> {
        let gateway = match &new.gateway {
            // Keeps the connections to the upstreams.
            unchanged if *unchanged == old.gateway => self.gateway.clone(),
            changed => changed
                .as_ref()
                .map(Gateway::new)
                .transpose()?
                .map(Arc::new),
        };
        let before = ConfiguredLimits {
            default: old.quota,
            rules: self.rules(old)?,
        };
        // A reload cannot change the source of client identities, so this identifier parses the new
        // rules, before anything is created for them.
        let after = ConfiguredLimits {
            default: new.quota,
            rules: self.rules(new)?,
        };
        let route_limits = self.route_limits.updated(new).await?;
        let named_limits = self.named_limits.updated(new).await?;
        self.limiter
            .apply_changes(before, after)
            .await
            .map_err(|error| format!("rules: {error}"))?;
        route_limits.apply_quotas(&self.route_limits).await;
        named_limits.apply_quotas(&self.named_limits).await;
        let app = App::assemble(
            new,
            Arc::clone(&self.limiter),
            (route_limits, named_limits),
            gateway,
            Carried {
                delay: self.delay.clone(),
                failures: Arc::clone(&self.failures),
                metrics: Arc::clone(&self.metrics),
                generation: self.generation + 1,
            },
        );
        app.log_differences(new);
        Ok(app)
    }

    /// Logs quotas of named limits that are not those of the file, and costs above a capacity.
    fn log_differences(&self, settings: &Settings) {
        self.named_limits.log_differences(settings);
        self.log_high_costs(&self.limiter.effective_config());
    }

    /// Logs requests whose cost is above the capacity of all default buckets.
    pub(crate) fn log_high_costs(&self, config: &EffectiveConfig) {
        let capacity = config.largest_capacity();
        for (route, cost) in &self.default_costs {
            if *cost > capacity {
                tracing::warn!(%route, cost, capacity, "cost above the capacity; such requests never pass");
            }
        }
    }

    /// Charges a failed credential to a client's address. Returns 429 when the
    /// address has had too many of them.
    pub(crate) fn limited_failure(
        &self,
        client: ClientId<'_>,
        credential: Credential,
        request: &HeaderMap,
    ) -> Option<Response> {
        let decision = self.failures.charge(&client);
        let is_limited = decision.is_refused();
        self.metrics.credentials.add(credential, is_limited);
        is_limited.then(|| {
            response::refused(
                Refusal::new(self.header_style)
                    .policy(PolicyName::FAILED_CREDENTIALS)
                    .http_only(),
                &decision,
                request,
            )
        })
    }

    /// Copies all buckets, if the settings have a directory for copies.
    pub(crate) fn copy_state(&self) -> Result<(), String> {
        self.limiter.copy()?;
        self.route_limits.copy()?;
        self.named_limits.copy()
    }

    /// Returns leased tokens to Redis after the last request.
    pub(crate) async fn close(&self) {
        self.limiter.close().await;
        self.route_limits.close().await;
        self.named_limits.close().await;
    }

    /// Returns true when there is a default limit: in any configuration but one that has only
    /// `[[limits]]`.
    pub(crate) fn has_default(&self) -> bool {
        let policies = self.policies.as_ref();
        policies.is_none_or(|policies| policies.default_counters.is_some())
    }

    /// Returns the effective limits.
    pub(crate) fn effective_config(&self) -> EffectiveConfig {
        self.shown(self.limiter.effective_config())
    }

    /// Returns limits in the form in which they are shown: with the delay and the limits of routes, and
    /// without API keys.
    pub(crate) fn shown(&self, config: EffectiveConfig) -> EffectiveConfig {
        let config = if self.has_default() {
            config
        } else {
            config.without_default()
        };
        config
            .with_delay(self.max_wait())
            .with_routes(self.route_limits.quotas())
            .with_limits(self.named_limits.views())
            .with_names(|name| self.clients.shown_name(name))
    }

    /// Returns the longest wait for tokens of the default limit and of routes, if there is one.
    pub(crate) fn max_wait(&self) -> Option<Duration> {
        let max_wait = self.delay.as_ref()?.max_wait();
        (!max_wait.is_zero()).then_some(max_wait)
    }

    /// Returns the effective default quota, if there is a default limit.
    pub(crate) fn default_quota(&self) -> Option<Quota> {
        self.has_default().then(|| self.limiter.quota())
    }

    /// Returns the default limiter, which has no label, and those of routes and named limits.
    pub(crate) fn limiters(&self) -> PerRoute<Arc<Limiter>> {
        let named = |kind: &'static str, limits: &NamedLimits| -> PerRoute<Arc<Limiter>> {
            let limiters = limits.limiters();
            let labelled = limiters
                .map(|(label, limiter)| (Some((kind, label.to_owned())), Arc::clone(limiter)));
            labelled.collect()
        };
        [(None, Arc::clone(&self.limiter))]
            .into_iter()
            .chain(named("route", &self.route_limits))
            .chain(named("limit", &self.named_limits))
            .collect()
    }

    /// Returns whether Redis is available to all limiters, or `None` without Redis.
    pub(crate) fn redis_is_up(&self) -> Option<bool> {
        let default = self.limiter.redis_stats()?.up;
        let mut named = [&self.route_limits, &self.named_limits]
            .into_iter()
            .flat_map(NamedLimits::redis_stats);
        Some(default && named.all(|(_, stats)| stats.up))
    }

    /// Returns the caller of a new connection to the public port.
    pub(crate) fn caller(&self, address: SocketAddr) -> Caller {
        let peer = self.clients.peer(address);
        Caller {
            peer,
            port: Port::Public,
            hop: OnceLock::new(),
            granted: response::granted(peer.address),
            generation: self.generation,
        }
    }

    /// Updates the caller of a connection that is older than this configuration.
    #[inline]
    pub(crate) fn refresh<'a>(&self, caller: &'a Arc<Caller>) -> Cow<'a, Arc<Caller>> {
        if caller.generation == self.generation {
            return Cow::Borrowed(caller);
        }
        // The address is the same, so `hop` and `granted` stay valid.
        let peer = self.clients.peer((caller.peer.address, 0).into());
        Cow::Owned(Arc::new(Caller {
            peer,
            generation: self.generation,
            ..Caller::clone(caller)
        }))
    }
}

/// The admin token grants access to `POST /check` as well.
fn check_access(settings: &Settings) -> Option<Access> {
    let admin = &settings.admin;
    let tokens = admin.check_token.iter().chain(&admin.token).cloned();
    (admin.check == Check::Guarded)
        .then(|| Access::new("POST /check", tokens, settings.tokenless()))
}
