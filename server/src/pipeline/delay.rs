//! Requests that wait for their tokens instead of being refused, as nginx delays those within
//! `burst`.
//!
//! A request of a gateway takes its slot of the client before it waits, and keeps it for the
//! upstream: a client has at most its share of requests, wherever they are. A slot of the upstream
//! is taken after the wait. A client that disconnects drops the future, and with it its place.

use std::time::Duration;

use hyper::{Request, body::Body};

use crate::{
    app::{App, Caller},
    client_slots::ClientSlot,
    endpoint::{self, Endpoint},
    limit::{Delay, Delayed, PendingCharge, PolicyDecision},
    request::client_id::ClientId,
};

/// Decision after a wait, or without one.
pub(super) struct DelayedDecision<'a> {
    pub(super) acquired: PolicyDecision<'a>,
    /// Slot of the client for the request to the upstream.
    pub(super) slot: Option<ClientSlot>,
}

impl<'a> DelayedDecision<'a> {
    pub(super) fn at_once(acquired: PolicyDecision<'a>) -> DelayedDecision<'a> {
        DelayedDecision {
            acquired,
            slot: None,
        }
    }
}

/// Decides about a request: at once when its tokens are available or too far away, else after a
/// wait in the order of arrival.
pub(super) async fn acquire<'a, B: Body>(
    app: &App,
    delay: &Delay,
    request: &Request<B>,
    caller: &Caller,
    charge: &'a PendingCharge,
) -> DelayedDecision<'a> {
    let (limiter, metrics) = (&app.limiter, &app.metrics);
    // Requests that wait are not overtaken.
    let mut refused = None;
    if charge.may_wait() && charge.has_policies() {
        if let Some(decided) = charge.acquire_unless_delayed(limiter, metrics).await {
            return DelayedDecision::at_once(decided);
        }
    } else if !charge.may_wait() || !charge.has_waiters(limiter) {
        let decided = charge.acquire(limiter, metrics).await;
        if !charge.may_wait() || !delay.covers(&decided.decision) {
            return DelayedDecision::at_once(decided);
        }
        refused = Some(decided);
    }
    let client = app
        .clients
        .bounded_by(Some(charge.client()), caller.peer, request.headers());
    let Some((_delayed, slot)) = enter(app, delay, request, charge.endpoint, client) else {
        return DelayedDecision::at_once(match refused {
            Some(decided) => decided,
            // Refused by the estimate of the tokens queued ahead.
            None => charge.acquire_within(limiter, Duration::ZERO).await,
        });
    };
    metrics.record_delay();
    tracing::debug!(
        client = %app.clients.redacted(charge.client()), method = %request.method(),
        path = endpoint::logged_path(request.uri().path()), "request waits for its tokens"
    );
    let max_wait = if charge.has_policies() {
        // Each limit has its own.
        Duration::MAX
    } else {
        delay.max_wait()
    };
    let acquired = charge.acquire_within(limiter, max_wait).await;
    DelayedDecision { acquired, slot }
}

/// Counts a request that begins to wait. `None`: too many wait already, or the client holds its
/// share of the requests to upstreams.
fn enter<B: Body>(
    app: &App,
    delay: &Delay,
    request: &Request<B>,
    endpoint: Endpoint,
    client: ClientId<'_>,
) -> Option<(Delayed, Option<ClientSlot>)> {
    let slot = match (endpoint, &app.gateway) {
        (Endpoint::Upstream(_), Some(gateway)) => {
            Some(gateway.try_client_slot(gateway.client_key(client), request)?)
        }
        _ => None,
    };
    Some((delay.enter(client)?, slot))
}
