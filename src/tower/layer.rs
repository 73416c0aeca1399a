//! The layer: what users write, and what it is when they write nothing.

use std::{fmt, future::Future, mem, net::SocketAddr, sync::Arc};

use http::{Response, request::Parts};
use ipnet::IpNet;
use tower_layer::Layer;

use super::{
    gate::{Gate, Limiter, Verdict},
    headers::HeaderStyle,
    key::{Key, Missing},
    service::RateLimit,
};
use crate::{Decision, KeyedLimiter, Quota};

/// How many keys a limiter of the layer's own remembers.
const MAX_KEYS: usize = 100_000;

/// Limits the requests that reach a service; see the [module](crate::tower) for a first example.
///
/// ```
/// use http::{Method, header::HeaderName};
/// use tollgate::{Quota, tower::{HeaderStyle, Key, RateLimitLayer}};
///
/// let layer = RateLimitLayer::new(Quota::per_minute(100), Key::header(HeaderName::from_static("x-api-key")))
///     .cost(|request| if request.method == Method::POST { 3 } else { 1 })
///     .exempt(|request| request.uri.path() == "/health")
///     .headers(HeaderStyle::Draft11);
/// ```
///
/// Clones, and the services made by one layer, share one limit: on all routes of a router, a client
/// has one bucket.
#[derive(Clone, Debug)]
pub struct RateLimitLayer {
    gate: Arc<Gate>,
}

impl RateLimitLayer {
    /// A limit for each client's address, remembering 100,000 of them; see [`Key::ip`].
    ///
    /// Where the server leaves the address is said with [`RateLimitLayer::peer_from`].
    ///
    /// ```
    /// # use tollgate::{Quota, tower::RateLimitLayer};
    /// let ten_at_once_then_one_a_second = RateLimitLayer::per_ip(Quota::per_second(1).with_capacity(10));
    /// ```
    ///
    /// # Panics
    /// Like [`RateLimitLayer::new`].
    #[must_use]
    pub fn per_ip(quota: Quota) -> RateLimitLayer {
        RateLimitLayer::new(quota, Key::ip())
    }

    /// A limit for each key, remembering 100,000 of them.
    ///
    /// ```
    /// # use tollgate::{Quota, tower::{Key, RateLimitLayer}};
    /// let each_client_on_each_page = RateLimitLayer::new(Quota::per_second(1), Key::ip().and(Key::path()));
    /// ```
    ///
    /// # Panics
    /// When there is no memory for that, 2.7 MB, as of a `Vec`.
    #[must_use]
    pub fn new(quota: Quota, key: Key) -> RateLimitLayer {
        RateLimitLayer::with_limiter(KeyedLimiter::new(quota, MAX_KEYS), key)
    }

    /// A limit by a limiter of yours: of any size, with a test's clock, changed while it runs, or
    /// shared with something else.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tollgate::{KeyedLimiter, Quota, tower::{Key, RateLimitLayer}};
    ///
    /// let limiter = Arc::new(KeyedLimiter::new(Quota::per_second(10), 1_000_000));
    /// let layer = RateLimitLayer::with_limiter(limiter.clone(), Key::ip());
    /// limiter.replace(Quota::per_second(20)); // from the next request on
    /// ```
    #[must_use]
    pub fn with_limiter(limiter: impl Into<Arc<KeyedLimiter>>, key: Key) -> RateLimitLayer {
        RateLimitLayer {
            gate: Arc::new(Gate::new(Limiter::Memory(limiter.into()), key)),
        }
    }

    /// A limit that is decided elsewhere, or later: the function gets the key, as text, and the
    /// cost. The service behind is called when the future allows.
    ///
    /// So requests wait in turn instead of being refused (feature `tokio`):
    ///
    /// ```
    /// # #[cfg(feature = "tokio")] {
    /// use std::sync::Arc;
    /// use tollgate::{KeyedLimiter, Quota, tower::{Key, RateLimitLayer}};
    ///
    /// let limiter = Arc::new(KeyedLimiter::new(Quota::per_second(10), 100_000));
    /// let layer = RateLimitLayer::from_fn(Key::ip(), move |key, cost| {
    ///     let limiter = limiter.clone();
    ///     async move { limiter.acquire(&key, cost).await.unwrap_or_else(|refused| refused.decision()) }
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn from_fn<F>(
        key: Key,
        decide: impl Fn(String, u32) -> F + Send + Sync + 'static,
    ) -> RateLimitLayer
    where
        F: Future<Output = Decision> + Send + 'static,
    {
        RateLimitLayer::elsewhere(key, "elsewhere", move |gate, request, cost| {
            let decision = decide(gate.key(request)?.into_text().into_owned(), cost);
            let extensions = mem::take(&mut request.extensions);
            Ok(Verdict::Deciding(Box::pin(async move {
                (decision.await.into(), extensions)
            })))
        })
    }

    pub(super) fn elsewhere(
        key: Key,
        shown: impl fmt::Debug + Send + Sync + 'static,
        decide: impl Fn(&Gate, &mut Parts, u32) -> Result<Verdict, Missing> + Send + Sync + 'static,
    ) -> RateLimitLayer {
        RateLimitLayer {
            gate: Arc::new(Gate::new(
                Limiter::Elsewhere {
                    decide: Arc::new(decide),
                    shown: Arc::new(shown),
                },
                key,
            )),
        }
    }

    /// Where the server leaves the address of the peer: in an extension of the request, of whatever
    /// type this function takes. It gives a `SocketAddr`, or perhaps none, in an `Option`; the port
    /// does not count. A [`PeerAddr`](super::PeerAddr) is found without being told.
    ///
    /// ```
    /// # use {std::net::SocketAddr, tollgate::{Quota, tower::RateLimitLayer}};
    /// // axum, served with into_make_service_with_connect_info::<SocketAddr>()
    /// use axum::extract::ConnectInfo;
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10)).peer_from(|peer: &ConnectInfo<SocketAddr>| peer.0);
    ///
    /// // tonic
    /// use tonic::transport::server::TcpConnectInfo;
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10)).peer_from(|peer: &TcpConnectInfo| peer.remote_addr());
    /// ```
    #[must_use]
    pub fn peer_from<E, A>(
        self,
        address: impl Fn(&E) -> A + Send + Sync + 'static,
    ) -> RateLimitLayer
    where
        E: Send + Sync + 'static,
        A: Into<Option<SocketAddr>>,
    {
        self.with(|gate| gate.clients.find_in(address))
    }

    /// The same layer, sharing the same limit, for the requests of one connection: no extension is
    /// looked for.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use http::{Request, Response};
    /// use tollgate::{Quota, tower::RateLimitLayer};
    /// use tower::{Layer, service_fn};
    ///
    /// let hello = service_fn(|_: Request<String>| async { Ok::<_, Infallible>(Response::new("hello".to_owned())) });
    /// let limit = RateLimitLayer::per_ip(Quota::per_second(10));
    /// // For each connection that the listener accepts:
    /// # let peer = ([192, 0, 2, 7], 4711).into();
    /// let limited = limit.for_peer(peer).layer(hello);
    /// ```
    ///
    /// With axum: see the [module](crate::tower).
    #[must_use]
    pub fn for_peer(&self, peer: SocketAddr) -> RateLimitLayer {
        self.clone().with(|gate| gate.clients.are_behind(peer))
    }

    /// Whose `X-Forwarded-For` and `Forwarded` count: the networks of your own proxies. From
    /// anybody else they change nothing. See [`TrustedProxies`](super::TrustedProxies).
    ///
    /// ```
    /// # use tollgate::{Quota, tower::RateLimitLayer};
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10)).trust_proxies(["10.0.0.0/8".parse()?, "::1/128".parse()?]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn trust_proxies(self, networks: impl IntoIterator<Item = IpNet>) -> RateLimitLayer {
        self.with(|gate| gate.clients.trust(networks.into_iter().collect()))
    }

    /// How many leading bits of an IPv6 address tell clients apart; 64 when not set, and at most
    /// 128.
    ///
    /// ```
    /// # use tollgate::{Quota, tower::RateLimitLayer};
    /// // Providers that hand out a /56 to each customer.
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10)).ipv6_prefix(56);
    /// ```
    #[must_use]
    pub fn ipv6_prefix(self, bits: u8) -> RateLimitLayer {
        self.with(|gate| gate.clients.tell_apart_by(bits))
    }

    /// What a request costs, in tokens; 1 when not set. One that costs nothing passes, and is told
    /// what is left; one that costs more than the capacity never does.
    ///
    /// ```
    /// # use tollgate::{Quota, tower::RateLimitLayer};
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10)).cost(|request| match request.uri.path() {
    ///     "/search" => 5,
    ///     _ => 1,
    /// });
    /// ```
    #[must_use]
    pub fn cost(self, cost: impl Fn(&Parts) -> u32 + Send + Sync + 'static) -> RateLimitLayer {
        self.with(|gate| gate.cost = Some(Arc::new(cost)))
    }

    /// Requests that are not limited: nothing is taken, no header is added, no key is needed, and
    /// there is no [`Decision`] in the extensions (so that a handler for both takes an `Option` of
    /// it). More than one such function may be given.
    ///
    /// ```
    /// # use tollgate::{Quota, tower::RateLimitLayer};
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10)).exempt(|request| request.uri.path() == "/health");
    /// ```
    #[must_use]
    pub fn exempt(
        self,
        is_exempt: impl Fn(&Parts) -> bool + Send + Sync + 'static,
    ) -> RateLimitLayer {
        self.with(|gate| gate.exempt.push(Arc::new(is_exempt)))
    }

    /// Which headers tell the client what is left; [`HeaderStyle::XRateLimit`] when not set.
    ///
    /// ```
    /// # use tollgate::{Quota, tower::{HeaderStyle, RateLimitLayer}};
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10)).headers(HeaderStyle::Draft11);
    /// ```
    #[must_use]
    pub fn headers(self, headers: HeaderStyle) -> RateLimitLayer {
        self.with(|gate| gate.headers = headers)
    }

    /// The answer to what is refused, in place of [`HeaderStyle::refuse`]'s. HeaderStyle that tell what is
    /// left are added where the answer has none of that name.
    ///
    /// ```
    /// use http::{Response, StatusCode};
    /// # use tollgate::{Quota, tower::RateLimitLayer};
    /// let layer = RateLimitLayer::per_ip(Quota::per_second(10)).refusal(|decision, request| {
    ///     let mut answer = Response::new(format!("{} {}: {decision}", request.method, request.uri.path()));
    ///     *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    ///     answer
    /// });
    /// ```
    #[must_use]
    pub fn refusal(
        self,
        answer: impl Fn(&Decision, &Parts) -> Response<String> + Send + Sync + 'static,
    ) -> RateLimitLayer {
        self.with(|gate| gate.refusal = Some(Arc::new(answer)))
    }

    fn with(mut self, change: impl FnOnce(&mut Gate)) -> RateLimitLayer {
        change(Arc::make_mut(&mut self.gate));
        self
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit::new(inner, Arc::clone(&self.gate))
    }
}
