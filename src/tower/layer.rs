//! Layer that applies a rate limit, and its options.

#[cfg(feature = "tokio")]
use std::time::Duration;
use std::{future::Future, hash::BuildHasher, net::SocketAddr, sync::Arc};

use http::{Response, header::HeaderName};
use ipnet::IpNet;
use tower_layer::Layer;

use super::{
    check_outcome::CheckOutcome,
    headers::HeaderStyle,
    ipv6_prefix::Ipv6Prefix,
    key::Key,
    layer_decision::LayerDecision,
    limit::Limit,
    limited_request::LimitedRequest,
    limits::Limits,
    memory_limiter,
    request_key::{KeyMismatch, RequestKey},
    request_limiter::{Backend, RequestLimiter},
    service::RateLimit,
};
use crate::{DecisionView, KeyedLimiter, MAX_LIMITS, Quota};

/// Limits the requests that reach a service; see the [module](crate::tower) for a first example.
///
/// ```
/// use http::{Method, header::HeaderName};
/// use tollgate::{Quota, tower::{HeaderStyle, Key, RateLimitLayer}};
///
/// let api_key = Key::header(HeaderName::from_static("x-api-key"));
/// let layer = RateLimitLayer::new(Quota::per_minute(100), api_key)
///     .cost(|request| if request.method == Method::POST { 3 } else { 1 })
///     .exempt(|request| request.uri.path() == "/health")
///     .headers(HeaderStyle::Draft11);
/// ```
///
/// Clones of a layer and the services that it builds share one limit: a client has one bucket on
/// all routes of a router.
///
/// `B` is the type of the bodies that [`RateLimitLayer::refusal`] builds.
#[derive(Debug)]
pub struct RateLimitLayer<B = String> {
    limiter: Arc<RequestLimiter<B>>,
}

impl RateLimitLayer {
    /// Creates a limit per client address for up to 100,000 clients; see [`Key::ip`].
    ///
    /// [`RateLimitLayer::peer_from`] sets where the server stores the peer address.
    ///
    /// ```
    /// # use tollgate::{Quota, tower::RateLimitLayer};
    /// // A burst of ten requests, then one per second.
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(1).with_capacity(10));
    /// ```
    ///
    /// # Panics
    /// Panics like [`RateLimitLayer::new`].
    #[must_use]
    #[track_caller]
    pub fn per_ip(quota: Quota) -> RateLimitLayer {
        RateLimitLayer::new(quota, Key::ip())
    }

    /// Creates a limit per key for up to 100,000 keys.
    ///
    /// ```
    /// # use tollgate::{Quota, tower::{Key, RateLimitLayer}};
    /// let per_client_and_page =
    ///     RateLimitLayer::new(Quota::per_second(1), Key::ip().and(Key::path()));
    /// ```
    ///
    /// # Panics
    /// Panics when the 2.7 MB of the limiter's table cannot be allocated.
    #[must_use]
    #[track_caller]
    pub fn new(quota: Quota, key: Key) -> RateLimitLayer {
        RateLimitLayer::with_limiter(memory_limiter::of_default_size(quota), key)
    }

    /// Combines one to eight limits: a request takes tokens from all that apply to it, or from none.
    ///
    /// [`Limit`] sets the key, the cost and the exemptions of each. Of the options of the layer,
    /// [`RateLimitLayer::cost`] holds for limits without a cost of their own,
    /// [`RateLimitLayer::exempt`] for all of them; each limit has its own name. With
    /// [`RateLimitLayer::delay`] a request waits when every limit that refuses it does so for no longer
    /// than the delay; its client is the key of the first limit that applies. A request is rejected with
    /// 401 when it lacks the key of a limit that applies to it.
    ///
    /// ```
    /// use tollgate::{Quota, tower::{Key, Limit, RateLimitLayer}};
    ///
    /// let layer = RateLimitLayer::all([
    ///     Limit::new("burst", Quota::per_second(10), Key::ip()),
    ///     Limit::new("page", Quota::per_hour(1000), Key::ip().and(Key::path())),
    /// ]);
    /// ```
    ///
    /// More than eight limits do not compile:
    ///
    /// ```compile_fail,E0080
    /// # use tollgate::{Quota, tower::{Key, Limit, RateLimitLayer}};
    /// RateLimitLayer::all([(); 9].map(|()| Limit::new("one", Quota::per_second(10), Key::ip())));
    /// ```
    #[must_use]
    pub fn all<const N: usize>(limits: [Limit; N]) -> RateLimitLayer {
        const { assert!(N >= 1 && N <= MAX_LIMITS, "expected 1 to 8 limits") };
        // The key that functions of the layer see.
        let key = limits[0].key.clone();
        RateLimitLayer::with_backend(Backend::Several(Limits::new(limits)), key)
    }

    /// Creates a layer that uses the given limiter: one of any size, of any hash function, with a
    /// manual clock for tests, updated at run time, or shared with other code. Its keys are
    /// [`RequestKey`]s.
    ///
    /// Clients wait for `Retry-After` by clocks of their own. The default clock of a limiter may be
    /// some parts in a million slower, and then refuses a client that waits exactly;
    /// [`Clock::monotonic`](crate::Clock::monotonic) is not.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tollgate::{Clock, KeyedLimiter, Quota, tower::{Key, RateLimitLayer}};
    ///
    /// let builder = KeyedLimiter::builder(Quota::per_second(10)).max_keys(1_000_000);
    /// let limiter = Arc::new(builder.clock(Clock::monotonic()).build()?);
    /// let layer = RateLimitLayer::with_limiter(limiter.clone(), Key::ip());
    /// limiter.replace(Quota::per_second(20)); // from the next request on
    /// # Ok::<(), tollgate::BuildError>(())
    /// ```
    #[must_use]
    pub fn with_limiter<S>(
        limiter: impl Into<Arc<KeyedLimiter<RequestKey<'static>, S>>>,
        key: Key,
    ) -> RateLimitLayer
    where
        S: BuildHasher + Send + Sync + 'static,
    {
        RateLimitLayer::with_backend(Backend::Memory(limiter.into()), key)
    }

    /// Creates a layer that calls an asynchronous function for each decision. The function gets the
    /// request, whose key is known, and the cost. The inner service is called when the decision
    /// allows it.
    ///
    /// The future returns a [`Decision`](crate::Decision), a [`DecisionView`], or the result of an
    /// `acquire`. With this constructor, requests can wait for tokens instead of being refused
    /// (feature `tokio`):
    ///
    /// ```
    /// # #[cfg(feature = "tokio")] {
    /// use std::sync::Arc;
    /// use tollgate::{KeyedLimiter, Quota, tower::{Key, RateLimitLayer, RequestKey}};
    ///
    /// let limiter = Arc::new(KeyedLimiter::<RequestKey<'static>>::new(Quota::per_second(10), 100_000));
    /// let layer = RateLimitLayer::from_fn(Key::ip(), move |request, cost| {
    ///     let limiter = limiter.clone();
    ///     let (key, patient) = (request.key().cloned(), request.headers.contains_key("x-patient"));
    ///     let key = key.map(RequestKey::into_owned);
    ///     async move {
    ///         let key = key.expect("a request without a key is rejected before");
    ///         if patient {
    ///             limiter.acquire(&key, cost).await
    ///         } else {
    ///             limiter.try_acquire(&key, cost).ok()
    ///         }
    ///     }
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn from_fn<F>(
        key: Key,
        decide: impl Fn(&LimitedRequest<'_>, u32) -> F + Send + Sync + 'static,
    ) -> RateLimitLayer
    where
        F: Future<Output: Into<DecisionView>> + Send + 'static,
    {
        let check = move |request: &LimitedRequest<'_>, cost, policy| {
            request.required_key()?;
            let decision = decide(request, cost);
            Ok(CheckOutcome::Pending(Box::pin(async move {
                LayerDecision::of_one(policy, decision.await.into())
            })))
        };
        let backend = Backend::Custom {
            check: Arc::new(check),
            debug: Arc::new("custom function"),
        };
        RateLimitLayer::with_backend(backend, key)
    }

    /// Creates a limit that processes share through Redis or Valkey (feature `redis`).
    ///
    /// ```no_run
    /// use tollgate::{Quota, RedisLimiter, tower::{Key, RateLimitLayer, RequestKey}};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = RedisLimiter::connect("redis://127.0.0.1/", Quota::per_second(10)).await?;
    /// // And .peer_from(…), as with any other limiter.
    /// let layer = RateLimitLayer::redis(limiter.clone(), Key::ip());
    /// // A Redis limiter's keys are text, which the layer knows.
    /// let client = layer.redis_key(&RequestKey::ip("192.0.2.7".parse()?))?;
    /// limiter.set_rule(&client, Quota::per_second(100)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// A request waits for Redis no longer than the limiter's timeout. It does not wait when leased
    /// tokens suffice, when a cached refusal applies, or while Redis is unavailable. In the last
    /// case [`RedisFallback`](crate::RedisFallback) decides, and the response carries
    /// `X-RateLimit-Without-Redis: local`, `open`, or, with status 503, `closed`.
    ///
    /// The [`source`](DecisionView::source) of the [`DecisionView`] in the request's extensions names
    /// the source of the decision, for the inner service and for a
    /// [refusal function](RateLimitLayer::refusal):
    ///
    /// ```
    /// # use {axum::Extension, tollgate::{DecisionSource, DecisionView}};
    /// async fn handler(Extension(decision): Extension<DecisionView>) -> String {
    ///     let is_unavailable = decision.source() == DecisionSource::Local;
    ///     format!("Redis is unavailable: {is_unavailable}")
    /// }
    /// ```
    ///
    /// With leases, call [`RedisLimiter::close`](crate::RedisLimiter::close) before the process
    /// exits.
    #[cfg(feature = "redis")]
    #[must_use]
    pub fn redis(limiter: crate::RedisLimiter, key: Key) -> RateLimitLayer {
        RateLimitLayer::with_backend(Backend::Redis(limiter), key)
    }

    fn with_backend(backend: Backend, key: Key) -> RateLimitLayer {
        RateLimitLayer {
            limiter: Arc::new(RequestLimiter::new(backend, key)),
        }
    }
}

impl<B> RateLimitLayer<B> {
    /// Returns the key, after checking that a request to this layer can have it: it has the kind of
    /// the layer's [`Key`], the name of its header, and for an IPv6 client the layer's prefix. A
    /// rule for any other key would never apply. See [`RequestKey`] for an example.
    ///
    /// # Errors
    /// When no request can have the key.
    pub fn verify_key<'a>(&self, key: RequestKey<'a>) -> Result<RequestKey<'a>, KeyMismatch> {
        let check = &self.limiter.check;
        check.key.verify(&key, check.client_address.ipv6_prefix())?;
        Ok(key)
    }

    /// Returns the text by which the [`RedisLimiter`](crate::RedisLimiter) of a layer knows a key.
    ///
    /// # Errors
    /// When no request can have the key, as for [`RateLimitLayer::verify_key`].
    #[cfg(feature = "redis")]
    pub fn redis_key(&self, key: &RequestKey<'_>) -> Result<String, KeyMismatch> {
        let check = &self.limiter.check;
        check.key.verify(key, check.client_address.ipv6_prefix())?;
        Ok(key.redis_text(check.key.has_alternatives()))
    }

    /// Names the policy in the header fields of [`HeaderStyle::Draft11`] and in problem details:
    /// `"default"` by default. Characters other than printable ASCII are written as underscores.
    ///
    /// ```
    /// # use tollgate::{Quota, tower::{HeaderStyle, RateLimitLayer}};
    /// let layer = RateLimitLayer::per_ip(Quota::per_minute(5)).headers(HeaderStyle::Draft11).name("login");
    /// // RateLimit-Policy: "login";q=5;w=60
    /// ```
    #[must_use]
    pub fn name(self, name: &'static str) -> RateLimitLayer<B> {
        self.configure(|limiter| limiter.policy = name)
    }

    /// Sets where the server stores the peer address: in a request extension of the type that the
    /// function takes. The function returns a `SocketAddr` or an `Option` of one; the port is
    /// ignored. A [`PeerAddr`](super::PeerAddr) extension is read without this option.
    ///
    /// ```
    /// # use {std::net::SocketAddr, tollgate::{Quota, tower::RateLimitLayer}};
    /// // axum, served with into_make_service_with_connect_info::<SocketAddr>()
    /// use axum::extract::ConnectInfo;
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10))
    ///     .peer_from(|peer: &ConnectInfo<SocketAddr>| peer.0);
    ///
    /// // tonic
    /// use tonic::transport::server::TcpConnectInfo;
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10))
    ///     .peer_from(|peer: &TcpConnectInfo| peer.remote_addr());
    /// ```
    #[must_use]
    pub fn peer_from<E, A>(
        self,
        address: impl Fn(&E) -> A + Send + Sync + 'static,
    ) -> RateLimitLayer<B>
    where
        E: Send + Sync + 'static,
        A: Into<Option<SocketAddr>>,
    {
        self.configure(|limiter| limiter.check.client_address.set_peer_extractor(address))
    }

    /// Returns a layer for the requests of one connection, which shares this layer's limit and
    /// reads no extension.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use http::{Request, Response};
    /// use tollgate::{Quota, tower::RateLimitLayer};
    /// use tower::{Layer, service_fn};
    ///
    /// let hello = service_fn(|_: Request<String>| async {
    ///     Ok::<_, Infallible>(Response::new("hello".to_owned()))
    /// });
    /// let limit = RateLimitLayer::per_ip(Quota::per_second(10));
    /// // For each connection that the listener accepts:
    /// # let peer = ([192, 0, 2, 7], 4711).into();
    /// let limited = limit.for_peer(peer).layer(hello);
    /// ```
    ///
    /// For axum, see the [module](crate::tower).
    #[must_use]
    pub fn for_peer(&self, peer: SocketAddr) -> RateLimitLayer<B> {
        self.clone()
            .configure(|limiter| limiter.check.client_address.set_peer(peer))
    }

    /// Sets the networks of trusted proxies, from which `X-Forwarded-For` and `Forwarded` are
    /// accepted; other peers' headers are ignored. See [`TrustedProxies`](super::TrustedProxies).
    ///
    /// ```
    /// # use tollgate::{Quota, tower::RateLimitLayer};
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10))
    ///     .trust_proxies(["10.0.0.0/8".parse()?, "::1/128".parse()?]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn trust_proxies(self, networks: impl IntoIterator<Item = IpNet>) -> RateLimitLayer<B> {
        let networks = networks.into_iter().collect();
        self.configure(|limiter| limiter.check.client_address.set_trusted_networks(networks))
    }

    /// Sets the header of trusted proxies that names the client: `forwarded`, or a header with an
    /// address or a list of addresses, such as `x-forwarded-for` or `x-real-ip`. Other headers are
    /// then ignored.
    ///
    /// By default either `X-Forwarded-For` or `Forwarded` counts. A request in which both name
    /// different clients is rejected with 400, since a proxy that writes one of them passes the
    /// other one on as the client wrote it.
    ///
    /// ```
    /// # use {http::header::HeaderName, tollgate::{Quota, tower::RateLimitLayer}};
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10))
    ///     .trust_proxies(["10.0.0.0/8".parse()?])
    ///     .client_address_header(HeaderName::from_static("x-real-ip"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn client_address_header(self, name: HeaderName) -> RateLimitLayer<B> {
        self.configure(|limiter| limiter.check.client_address.set_header(name))
    }

    /// Sets the number of leading bits of an IPv6 address that identify a client: 64 by default, at
    /// most 128.
    ///
    /// ```
    /// # use tollgate::{Quota, tower::RateLimitLayer};
    /// // For providers that assign a /56 to each customer.
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10)).ipv6_prefix(56);
    /// ```
    #[must_use]
    pub fn ipv6_prefix(self, bits: u8) -> RateLimitLayer<B> {
        let prefix = Ipv6Prefix::new(bits);
        self.configure(|limiter| limiter.check.client_address.set_ipv6_prefix(prefix))
    }

    /// Sets the cost of a request in tokens: 1 by default. A request that costs 0 is always allowed
    /// and reports the remaining tokens. A request that costs more than the capacity is always
    /// refused.
    ///
    /// ```
    /// # use tollgate::{Quota, tower::RateLimitLayer};
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10))
    ///     .cost(|request| match request.uri.path() {
    ///         "/search" => 5,
    ///         _ => 1,
    ///     });
    /// ```
    #[must_use]
    pub fn cost(
        self,
        cost: impl Fn(&LimitedRequest<'_>) -> u32 + Send + Sync + 'static,
    ) -> RateLimitLayer<B> {
        self.configure(|limiter| limiter.check.cost = Some(Arc::new(cost)))
    }

    /// Lets requests wait for their tokens instead of being refused, at most for `max_wait`
    /// (feature `tokio`). A request is refused at once when the requests ahead of it show that it
    /// would wait longer, which is an estimate, or when too many requests wait already: see
    /// [`RateLimitLayer::max_delayed`]. A client that disconnects gives its place up, and loses no
    /// tokens.
    ///
    /// ```
    /// # use {std::time::Duration, tollgate::{Quota, tower::RateLimitLayer}};
    /// // Ten a second, evenly: a burst waits for up to half a second.
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10).with_capacity(1))
    ///     .delay(Duration::from_millis(500));
    /// ```
    ///
    /// A request waits when the inner service is ready for it: put a limit of concurrent requests
    /// around this layer rather than inside, so that no permit is held meanwhile. A limiter with a
    /// [`ManualClock`](crate::ManualClock) lets requests wait until that advances. A layer of
    /// [`RateLimitLayer::from_fn`] ignores this setting: its function waits itself.
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn delay(self, max_wait: Duration) -> RateLimitLayer<B> {
        self.configure(|limiter| limiter.check.delay.max_wait = max_wait)
    }

    /// Sets how many requests may wait at the same time when there is a [`RateLimitLayer::delay`]:
    /// of one client, and of all. Default: 16 and 1024.
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn max_delayed(self, per_key: usize, total: usize) -> RateLimitLayer<B> {
        self.configure(|limiter| {
            let delay = &mut limiter.check.delay;
            (delay.max_per_key, delay.max_total) = (per_key, total);
        })
    }

    /// Exempts the requests for which the function returns `true`; several functions may be added.
    ///
    /// An exempt request takes no tokens, needs no key, and gets no header and no
    /// [`DecisionView`] extension (a handler for both kinds of requests takes an `Option` of it).
    ///
    /// ```
    /// # use tollgate::{Quota, tower::RateLimitLayer};
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10))
    ///     .exempt(|request| request.uri.path() == "/health");
    /// ```
    #[must_use]
    pub fn exempt(
        self,
        is_exempt: impl Fn(&LimitedRequest<'_>) -> bool + Send + Sync + 'static,
    ) -> RateLimitLayer<B> {
        self.configure(|limiter| limiter.check.exempt.push(Arc::new(is_exempt)))
    }

    /// Calls a function with each decision, for metrics and logs: with the name of the limit, and with
    /// its decision. It is called for every limit of [`RateLimitLayer::all`], also for shadow limits.
    ///
    /// ```
    /// # use {std::sync::atomic::{AtomicU64, Ordering::Relaxed}, tollgate::{Quota, tower::RateLimitLayer}};
    /// static REFUSED: AtomicU64 = AtomicU64::new(0);
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10)).on_decision(|_, decision| {
    ///     REFUSED.fetch_add(decision.is_refused().into(), Relaxed);
    /// });
    /// ```
    #[must_use]
    pub fn on_decision(
        self,
        observe: impl Fn(&'static str, &DecisionView) + Send + Sync + 'static,
    ) -> RateLimitLayer<B> {
        self.configure(|limiter| limiter.check.observer = Some(Arc::new(observe)))
    }

    /// Sets the style of the rate limit headers: [`HeaderStyle::XRateLimit`] by default.
    ///
    /// ```
    /// # use tollgate::{Quota, tower::{HeaderStyle, RateLimitLayer}};
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10)).headers(HeaderStyle::Draft11);
    /// ```
    #[must_use]
    pub fn headers(self, style: HeaderStyle) -> RateLimitLayer<B> {
        self.configure(|limiter| limiter.header_style = style)
    }

    /// Sets the response to refused requests, in place of [`Refusal`](super::Refusal)'s. Its body is
    /// of any type `C`; bodies that the layer generates itself remain texts. Rate limit headers are
    /// added unless the response has a header of the same name.
    ///
    /// ```
    /// use axum::response::{IntoResponse, Redirect};
    /// # use tollgate::{Quota, tower::RateLimitLayer};
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10)).refusal(|decision, request| {
    ///     if request.headers.contains_key("x-program") {
    ///         format!("{} {}: {decision}", request.method, request.uri.path()).into_response()
    ///     } else {
    ///         Redirect::to("/slow-down").into_response()
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn refusal<C>(
        self,
        response: impl Fn(&DecisionView, &LimitedRequest<'_>) -> Response<C> + Send + Sync + 'static,
    ) -> RateLimitLayer<C> {
        let RequestLimiter {
            check,
            header_style,
            policy,
            ..
        } = &*self.limiter;
        RateLimitLayer {
            limiter: Arc::new(RequestLimiter {
                check: check.clone(),
                refusal: Some(Arc::new(response)),
                header_style: *header_style,
                policy,
            }),
        }
    }

    fn configure(mut self, set: impl FnOnce(&mut RequestLimiter<B>)) -> RateLimitLayer<B> {
        set(Arc::make_mut(&mut self.limiter));
        self
    }
}

impl<B> Clone for RateLimitLayer<B> {
    fn clone(&self) -> Self {
        RateLimitLayer {
            limiter: Arc::clone(&self.limiter),
        }
    }
}

impl<S, B> Layer<S> for RateLimitLayer<B> {
    type Service = RateLimit<S, B>;

    fn layer(&self, inner: S) -> RateLimit<S, B> {
        RateLimit::new(inner, Arc::clone(&self.limiter))
    }
}
