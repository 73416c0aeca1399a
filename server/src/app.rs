//! From a request to its answer: who asks, what it costs, whether it may pass.

mod body;
mod charge;
mod charges;
mod content;
mod endpoint;
mod handled;
mod make;
mod original;
mod path;
mod price;
mod routes;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, body::Body};
use tollgate::{Quota, tower::HeaderStyle};

pub(crate) use self::{
    body::{Unread, finish, incomplete},
    handled::{Handled, Told, Wants},
    path::percent_decoded,
};
use self::{charge::Charge, charges::Charges, endpoint::Endpoint};
use crate::{
    admin::Access,
    answer::{self, Answer},
    client::{Id, Identify, Peer, Unknown},
    config::{self, Bounds},
    handlers, json,
    limits::{Decided, InForce, Limits, OfRoutes},
    metrics::{Metrics, Reason},
    proxy::{self, Gateway, Hop},
};

/// The server's state, shared by all connections.
pub(crate) struct App {
    pub(crate) identify: Identify,
    /// `None`: what is allowed is answered here.
    pub(crate) gateway: Option<Arc<Gateway>>,
    charges: Charges,
    access: Access,
    /// Who may ask `POST /check`; `None`: everybody.
    askers: Option<Access>,
    /// What tells clients what is left.
    headers: HeaderStyle,
    /// The default, and the rules.
    pub(crate) limits: Arc<Limits>,
    /// Those of routes that have limits of their own.
    pub(crate) routes: OfRoutes,
    pub(crate) bounds: Bounds,
    pub(crate) metrics: Arc<Metrics>,
    /// How often the configuration was read again.
    generation: u64,
}

/// The other end of a connection, and what it gets from `GET /` when it asks for itself.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    /// What an upstream is told of it, from the first time on that one is told.
    hop: OnceLock<Hop>,
    granted: Bytes,
    /// Of the configuration by which it is trusted, or not.
    generation: u64,
}

impl Caller {
    pub(crate) fn hop(&self) -> &Hop {
        self.hop.get_or_init(|| Hop::new(self.peer.address))
    }
}

/// A request, looked at.
enum Looked<'a> {
    /// It is not limited.
    Done(Handled),
    ToCharge(Charge<'a>),
}

impl App {
    /// After the last request.
    pub(crate) async fn close(&self) {
        self.limits.close().await;
        self.routes.close().await;
    }

    /// What limits are in force.
    pub(crate) fn in_force(&self) -> InForce {
        self.limits.in_force().and(&self.routes)
    }

    /// The default limit that is in force.
    pub(crate) fn quota(&self) -> Quota {
        self.limits.quota()
    }

    /// `None`: there is no Redis. For all limits it is the same one.
    fn redis_is_up(&self) -> Option<bool> {
        let up = self.limits.redis()?.up;
        Some(up && self.routes.redis().all(|(_, stats)| stats.up))
    }

    pub(crate) fn caller(&self, address: std::net::SocketAddr) -> Caller {
        let peer = self.identify.peer(address);
        Caller {
            peer,
            hop: OnceLock::new(),
            granted: answer::granted(peer.address),
            generation: self.generation,
        }
    }

    /// The same caller, as the configuration in force sees it.
    pub(crate) fn known<'a>(&self, caller: &'a Arc<Caller>) -> Cow<'a, Arc<Caller>> {
        if caller.generation == self.generation {
            return Cow::Borrowed(caller);
        }
        // What is written about the address stays as it is.
        let peer = self.identify.peer((caller.peer.address, 0).into());
        Cow::Owned(Arc::new(Caller {
            peer,
            generation: self.generation,
            ..Caller::clone(caller)
        }))
    }

    /// A client as an administrator names it.
    pub(crate) fn client_named<'a>(&self, client_id: &'a str) -> Result<Id<'a>, String> {
        let id = self.identify.named(client_id);
        id.ok_or_else(|| format!("{client_id:?}: expected {}", self.identify.expected()))
    }

    /// A client as it stands in the log.
    pub(crate) fn shown<'a>(&'a self, id: Id<'a>) -> impl std::fmt::Display + 'a {
        self.identify.shown(id)
    }

    /// Decides, if that can be done at once. All but the body of the request is known by now.
    /// `None`: [`App::ask`].
    pub(crate) fn handle<B: Body>(&self, request: &Request<B>, caller: &Caller) -> Option<Handled> {
        match self.look(request, caller) {
            Looked::ToCharge(charge) => {
                let decided = self.charge_at_once(&charge)?;
                Some(self.decided(request, caller, &charge, &decided))
            }
            Looked::Done(handled) => Some(handled),
        }
    }

    /// Decides, wherever that is done.
    pub(crate) async fn ask<B: Body>(&self, request: &Request<B>, caller: &Caller) -> Handled {
        match self.look(request, caller) {
            Looked::ToCharge(charge) => {
                let decided = self.charge(&charge).await;
                self.decided(request, caller, &charge, &decided)
            }
            Looked::Done(handled) => handled,
        }
    }

    /// Who is to be charged, and how much; or the answer to a request that is not limited.
    fn look<'a, B: Body>(&'a self, request: &'a Request<B>, caller: &Caller) -> Looked<'a> {
        let (method, path) = (request.method(), request.uri().path());
        let endpoint = match &self.gateway {
            None => Endpoint::of(method, path),
            Some(gateway) => match proxy::misshapen(request) {
                Some(fault) => return Looked::Done(Handled::done(self.misshapen(fault, caller))),
                None => self.proxied(gateway, method, path),
            },
        };
        match endpoint {
            Endpoint::Health => {
                tracing::debug!(client = %caller.peer.address, %method, path, cost = 0, outcome = "health", "request");
                Looked::Done(Handled::done(answer::health(self.redis_is_up())))
            }
            Endpoint::Metrics
            | Endpoint::ShowConfig
            | Endpoint::ChangeConfig
            | Endpoint::UpdateRule
            | Endpoint::RemoveRule(_) => {
                let refusal = self.access.refusal(caller.peer, request);
                let handled = refusal.map_or_else(|| self.administer(endpoint), Handled::done);
                let status = handled.answer.status().as_u16();
                tracing::debug!(client = %caller.peer.address, %method, path, cost = 0, outcome = "admin", status, "request");
                Looked::Done(handled)
            }
            Endpoint::Check => {
                let refusal = self
                    .askers
                    .as_ref()
                    .and_then(|askers| askers.refusal(caller.peer, request));
                let asked = || Handled {
                    answer: answer::fixed(StatusCode::OK, ""),
                    wants: endpoint.wants(),
                };
                Looked::Done(refusal.map_or_else(asked, Handled::done))
            }
            _ => self.limited(endpoint, method, path, request.headers(), caller),
        }
    }

    /// Of a gateway: what is not this server's own goes to an upstream.
    fn proxied<'a>(&self, gateway: &Gateway, method: &Method, path: &'a str) -> Endpoint<'a> {
        match *method {
            _ if config::is_unlimited(path) => Endpoint::of(method, path),
            // A tunnel to wherever the client likes, and an echo of what the client must not see.
            Method::CONNECT | Method::TRACE => Endpoint::Nothing,
            _ => gateway
                .select(path)
                .map_or(Endpoint::Nothing, Endpoint::Upstream),
        }
    }

    fn misshapen(&self, fault: &str, caller: &Caller) -> Answer {
        tracing::debug!(peer = %caller.peer.address, cost = 0, outcome = "misshapen", fault, "request");
        answer::closing(answer::error(StatusCode::BAD_REQUEST, fault))
    }

    fn limited<'a>(
        &'a self,
        endpoint: Endpoint<'a>,
        method: &Method,
        path: &str,
        headers: &'a HeaderMap,
        caller: &Caller,
    ) -> Looked<'a> {
        let id = match self.identify.client(caller.peer, headers) {
            Ok(id) => id,
            Err(unknown) => {
                tracing::debug!(peer = %caller.peer.address, %method, path, cost = 0, outcome = ?unknown, "request");
                let (reason, message) = match unknown {
                    Unknown::NoKey => (Reason::NoKey, "an API key is needed"),
                    Unknown::NotListed => (Reason::UnknownKey, "this API key is not known"),
                };
                self.charges
                    .price(method, path, endpoint)
                    .counts
                    .add(reason);
                return Looked::Done(Handled::done(answer::unauthorized_client(message)));
            }
        };
        let price = match endpoint {
            Endpoint::Auth if caller.peer.is_trusted() => {
                match original::price(&self.charges, method, path, headers) {
                    Ok(price) => price,
                    Err(name) => {
                        return Looked::Done(Handled::done(json::bad(
                            name.as_str(),
                            "expected once, and readable",
                        )));
                    }
                }
            }
            _ => {
                if endpoint == Endpoint::Auth {
                    original::warn_of_a_stranger(caller.peer.address, headers);
                }
                self.charges.price(method, path, endpoint)
            }
        };
        let counts = price.counts;
        let Some(charge) = Charge::new(endpoint, id, price) else {
            counts.add(Reason::Exempt);
            tracing::debug!(client = %self.shown(id), %method, path, cost = 0, outcome = "Exempt", "request");
            let (status, body) = self.content(endpoint, headers, caller, id);
            return Looked::Done(Handled {
                answer: answer::json(status, body),
                wants: endpoint.wants(),
            });
        };
        Looked::ToCharge(charge)
    }

    /// The answer to a request that was decided.
    fn decided<B>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        charge: &Charge<'_>,
        decided: &Decided,
    ) -> Handled {
        let Charge {
            endpoint,
            id,
            fee,
            counts,
            ..
        } = charge;
        let Decided { decision, .. } = decided;
        counts.record(decision);
        let (method, path, without_redis) = (
            request.method(),
            request.uri().path(),
            decided.without_redis(),
        );
        tracing::debug!(
            client = %self.shown(*id), %method, path, cost = fee.cost, outcome = ?decision.outcome(),
            remaining = decision.remaining(), without_redis, "request"
        );
        let handled = if decision.is_refused() {
            Handled::done(answer::refused(self.headers, decision, request.headers()))
        } else if let Endpoint::Upstream(number) = *endpoint {
            let told = Told {
                decision: Some((self.headers, *decision)),
                without_redis,
            };
            return Handled {
                answer: Response::default(),
                wants: Wants::Proxied(number, told),
            };
        } else {
            let (status, body) = self.content(*endpoint, request.headers(), caller, *id);
            Handled {
                answer: answer::limited(self.headers, status, body, decision),
                wants: endpoint.wants(),
            }
        };
        match without_redis {
            None => handled,
            Some(policy) => Handled {
                answer: answer::without_redis(handled.answer, policy),
                ..handled
            },
        }
    }

    /// What `POST /check` asks for.
    pub(crate) async fn decide(&self, id: &Id<'_>, cost: u32) -> Decided {
        let decided = self
            .metrics
            .latency
            .timed(self.limits.acquire(id, cost))
            .await;
        self.charges
            .counts(Endpoint::Check)
            .record(&decided.decision);
        decided
    }

    fn administer(&self, endpoint: Endpoint<'_>) -> Handled {
        match endpoint {
            Endpoint::Metrics => Handled::done(handlers::metrics::response(
                &self.metrics,
                &self.limits,
                &self.routes,
            )),
            Endpoint::ShowConfig => Handled::done(answer::value(StatusCode::OK, &self.in_force())),
            _ => Handled {
                answer: answer::fixed(StatusCode::OK, ""),
                wants: endpoint.wants(),
            },
        }
    }
}
