//! Lease holder: the state of one process for one key, and every event that changes it.
//!
//! Methods neither wait, send nor read a clock. Time is passed in, in nanoseconds of the process's
//! monotonic clock, and a message to send is returned. At most one message is in flight, and all
//! callers that need its reply wait for that one.

mod demand;
mod refusal;

use demand::Demand;
use refusal::{BucketSnapshot, Refusal};

use super::{
    balance::Balance,
    message::{LeaseReply, LeaseRequest},
    settings::Settings,
};
use crate::state::State;

/// Number of times that a message which returns tokens is sent while no reply arrives. After that
/// the returned tokens are lost.
const MAX_RETURN_ATTEMPTS: u32 = 3;

/// State of a lease holder. The [`Balance`] that it spends from is stored beside it, because that
/// is accessed without a lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holder {
    /// See [`LeaseRequest::holder`].
    id: u64,
    /// Sequence number of the last request sent.
    seq: u64,
    /// Sequence number of the last request whose reply arrived in time.
    acked: u64,
    in_flight: Option<InFlight>,
    /// Unspent tokens that are being returned, until a reply confirms that they arrived.
    returned: u32,
    /// Whether a request was lost: the server may have granted tokens that never arrived.
    maybe_granted: bool,
    return_attempts: u32,
    next_return_at: u64,
    /// Tokens of the lease at its last renewal.
    lease_size: u32,
    /// The lease is renewed when fewer tokens than this remain.
    renew_below: u32,
    demand: Demand,
    refusal: Refusal,
    /// Other holders have all tokens that may be out on lease: until then, each request is decided
    /// on the server.
    exact_until: u64,
    closed: bool,
    /// Counts the messages and all other changes to the held tokens, except spending.
    epoch: u64,
}

/// Message in flight.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    seq: u64,
    sent_at: u64,
    kept: u32,
    need: u32,
    /// Takes tokens from the bucket itself instead of leasing them.
    exact: bool,
    /// Returns tokens and requests none.
    returns_only: bool,
}

/// Outcome of taking tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakeOutcome {
    /// The tokens were taken. `remaining` tokens are left on lease.
    Allowed { remaining: u32 },
    /// The tokens cannot be available before `retry_after` nanoseconds have passed. The outcome
    /// stays the same for `valid_for` nanoseconds, unless another event occurs.
    Refused { retry_after: u64, valid_for: u64 },
    /// A message is in flight: take again when its reply has arrived or is lost.
    Wait,
    /// The caller takes the tokens from the bucket itself, and passes the result and this sequence
    /// number to [`Holder::on_exact`].
    Exact { seq: u64 },
}

/// Outcome, and a request to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) outcome: TakeOutcome,
    pub(crate) request: Option<LeaseRequest>,
}

impl From<TakeOutcome> for Step {
    fn from(outcome: TakeOutcome) -> Step {
        Step {
            outcome,
            request: None,
        }
    }
}

impl Holder {
    pub(crate) fn new(id: u64) -> Holder {
        Holder {
            id,
            ..Holder::default()
        }
    }

    /// Takes `cost` tokens: at least one and at most the capacity.
    pub(crate) fn take(
        &mut self,
        settings: &Settings,
        balance: &Balance,
        now: u64,
        cost: u32,
    ) -> Step {
        self.lose_overdue(settings, now);
        if self.closed {
            return TakeOutcome::Exact { seq: 0 }.into();
        }
        if let Some(remaining) = balance.take(now, cost) {
            return Step {
                outcome: TakeOutcome::Allowed { remaining },
                request: self.on_spent(settings, balance, now, remaining),
            };
        }
        self.take_remote(settings, balance, now, cost)
    }

    /// Handles a take from the balance that left `remaining` tokens: renews the lease if they are
    /// few.
    pub(crate) fn on_spent(
        &mut self,
        settings: &Settings,
        balance: &Balance,
        now: u64,
        remaining: u32,
    ) -> Option<LeaseRequest> {
        if remaining < self.renew_below && !self.closed {
            self.renew(settings, balance, now)
        } else {
            None
        }
    }

    /// Takes tokens that the balance does not have.
    fn take_remote(&mut self, settings: &Settings, balance: &Balance, now: u64, cost: u32) -> Step {
        if self.in_flight.is_some() {
            self.demand.add_waiting(cost);
            return TakeOutcome::Wait.into();
        }
        let exact = cost > settings.limits.max_leased || self.asks_exactly(settings, now);
        let held = balance.snapshot();
        let kept = if exact || now >= held.expiry {
            0
        } else {
            held.tokens
        };
        if let Some(blocked) = self.refusal.blocks(settings, now, cost - kept) {
            return TakeOutcome::Refused {
                retry_after: blocked.retry_after,
                valid_for: blocked.request_after,
            }
            .into();
        }
        if exact {
            self.seq += 1;
            self.in_flight = Some(InFlight {
                seq: self.seq,
                sent_at: now,
                kept: 0,
                need: cost,
                exact: true,
                returns_only: false,
            });
            return TakeOutcome::Exact { seq: self.seq }.into();
        }
        self.demand.add_waiting(cost);
        let want = self.demand.next_want(settings, now);
        Step {
            outcome: TakeOutcome::Wait,
            request: Some(self.request(balance, now, cost, want)),
        }
    }

    /// Returns true while each request is decided on the server. A time further ahead than it can
    /// last is from before a step back of the clock.
    fn asks_exactly(&self, settings: &Settings, now: u64) -> bool {
        now < self.exact_until && self.exact_until - now <= settings.exact_nanos()
    }

    /// Requests more tokens while half of the lease remains, so that callers which go on spending
    /// do not wait for the reply.
    fn renew(&mut self, settings: &Settings, balance: &Balance, now: u64) -> Option<LeaseRequest> {
        if self.in_flight.is_some() {
            return None;
        }
        self.renew_below = 0;
        if self.asks_exactly(settings, now) || self.refusal.blocks(settings, now, 1).is_some() {
            return None;
        }
        let want = self.demand.next_want(settings, now);
        Some(self.request(balance, now, 0, want))
    }

    fn request(&mut self, balance: &Balance, now: u64, need: u32, want: u32) -> LeaseRequest {
        self.epoch += 1;
        self.collect_expired(balance, now);
        let kept = balance.snapshot().tokens;
        self.seq += 1;
        self.renew_below = 0;
        self.in_flight = Some(InFlight {
            seq: self.seq,
            sent_at: now,
            kept,
            need,
            exact: false,
            returns_only: want == 0,
        });
        LeaseRequest {
            holder: self.id,
            seq: self.seq,
            acked: self.acked,
            kept,
            returned: self.returned,
            need,
            want,
        }
    }

    /// Handles a reply. Returns `false`, and changes nothing, if its request is no longer in
    /// flight.
    pub(crate) fn on_reply(
        &mut self,
        settings: &Settings,
        balance: &Balance,
        now: u64,
        reply: &LeaseReply,
    ) -> bool {
        self.lose_overdue(settings, now);
        let Some(message) = self
            .in_flight
            .filter(|message| message.seq == reply.seq && !message.exact)
        else {
            return false;
        };
        self.epoch += 1;
        (self.in_flight, self.acked) = (None, reply.seq);
        (self.returned, self.maybe_granted, self.return_attempts) = (0, false, 0);
        self.demand.clear_waiting();
        if reply.kept < message.kept {
            // The lease had ended before the request arrived.
            balance.drain();
        }
        // The lifetime counts from when the request was sent. The server counts from when it
        // arrived, which is later.
        self.lease_size = balance.deposit(
            reply.granted,
            message.sent_at.saturating_add(settings.spendable_nanos()),
        );
        if reply.granted > 0 {
            self.renew_below = if self.lease_size > 1 {
                self.lease_size / 2 + 1
            } else {
                0
            };
            self.demand.on_granted(now);
            self.refusal.on_granted();
        } else if !message.returns_only {
            self.on_nothing_granted(settings, now, &message, reply);
        }
        true
    }

    fn on_nothing_granted(
        &mut self,
        settings: &Settings,
        now: u64,
        message: &InFlight,
        reply: &LeaseReply,
    ) {
        let missing = message.need.saturating_sub(reply.kept).max(1);
        let bucket = BucketSnapshot::new(settings, reply.state, reply.now);
        if bucket.remaining(settings) < missing {
            self.refusal.on_refused(now, missing, bucket);
        } else if message.need > 0 {
            self.exact_until = now.saturating_add(settings.exact_nanos());
        }
    }

    /// Handles the result of [`TakeOutcome::Exact`]: the tokens were taken from the bucket, or
    /// `refused` by the bucket in that state at that server time. Returns `false` if the message is
    /// no longer in flight.
    pub(crate) fn on_exact(
        &mut self,
        settings: &Settings,
        now: u64,
        seq: u64,
        refused: Option<(State, u64)>,
    ) -> bool {
        let Some(message) = self
            .in_flight
            .filter(|message| message.seq == seq && message.exact)
        else {
            return false;
        };
        self.in_flight = None;
        self.demand.clear_waiting();
        match refused {
            None => self.refusal.on_granted(),
            Some((state, at)) => {
                let bucket = BucketSnapshot::new(settings, state, at);
                self.refusal.on_refused(now, message.need, bucket);
            }
        }
        true
    }

    /// Handles the loss of the message with this sequence number: it failed, or its timeout
    /// elapsed. Returns `false` if it is no longer in flight.
    pub(crate) fn on_lost(&mut self, seq: u64) -> bool {
        let Some(message) = self.in_flight.filter(|message| message.seq == seq) else {
            return false;
        };
        self.in_flight = None;
        self.demand.clear_waiting();
        self.maybe_granted |= !message.exact;
        true
    }

    fn lose_overdue(&mut self, settings: &Settings, now: u64) {
        if let Some(message) = self.in_flight
            && now >= message.sent_at.saturating_add(settings.timeout_nanos)
        {
            self.on_lost(message.seq);
        }
    }

    /// Handles tokens that the bucket got other than by refill: a request that was refused before
    /// may succeed now. Tokens that were taken before stay taken.
    pub(crate) fn on_credited(&mut self) {
        self.epoch += 1;
        (self.refusal, self.exact_until) = (Refusal::default(), 0);
    }

    /// Handles the pause of the bucket, by which the server ended all leases: gives up the tokens
    /// held, and those that the reply in flight may grant.
    pub(crate) fn on_paused(&mut self, balance: &Balance) {
        self.epoch += 1;
        balance.drain();
        if let Some(message) = self.in_flight {
            self.on_lost(message.seq);
        }
    }

    /// Puts back tokens that were spent from the balance in this epoch. No message has reported
    /// them to the server yet, so this is equivalent to not spending them. Returns `false` if the
    /// epoch or the lease has ended.
    pub(crate) fn unspend(&mut self, balance: &Balance, now: u64, epoch: u64, cost: u32) -> bool {
        let expiry = balance.snapshot().expiry;
        if epoch != self.epoch || now >= expiry {
            return false;
        }
        balance.deposit(cost, expiry);
        true
    }

    /// Takes expired tokens out of the balance, to be returned.
    fn collect_expired(&mut self, balance: &Balance, now: u64) {
        let held = balance.snapshot();
        if held.tokens > 0 && now >= held.expiry {
            let unspent = balance.drain();
            self.epoch += 1;
            self.demand.on_expired(unspent, self.lease_size);
            self.returned += unspent;
        }
    }

    /// Handles the passing of time: expired tokens are returned, and a message that returns tokens
    /// is sent again if it was lost. See [`Holder::next_deadline`].
    pub(crate) fn on_timer(
        &mut self,
        settings: &Settings,
        balance: &Balance,
        now: u64,
    ) -> Option<LeaseRequest> {
        self.lose_overdue(settings, now);
        if self.in_flight.is_some() || self.closed {
            return None;
        }
        self.collect_expired(balance, now);
        if (self.returned == 0 && !self.maybe_granted) || now < self.next_return_at {
            return None;
        }
        if self.return_attempts >= MAX_RETURN_ATTEMPTS {
            (self.returned, self.maybe_granted) = (0, false);
            return None;
        }
        self.return_attempts += 1;
        self.next_return_at = now.saturating_add(settings.timeout_nanos << self.return_attempts);
        Some(self.request(balance, now, 0, 0))
    }

    /// Returns when [`Holder::on_timer`] has to be called next. `None` while no tokens are held or
    /// being returned and no message is in flight.
    pub(crate) fn next_deadline(&self, settings: &Settings, balance: &Balance) -> Option<u64> {
        if let Some(message) = self.in_flight {
            return Some(message.sent_at.saturating_add(settings.timeout_nanos));
        }
        let held = balance.snapshot();
        let expiry = (held.tokens > 0).then_some(held.expiry);
        let next_return = (self.returned > 0 || self.maybe_granted).then_some(self.next_return_at);
        expiry.into_iter().chain(next_return).min()
    }

    /// Returns all held tokens because the process or the use of the quota ends. From then on each
    /// request is decided on the server.
    pub(crate) fn close(&mut self, balance: &Balance, now: u64) -> Option<LeaseRequest> {
        self.closed = true;
        self.epoch += 1;
        self.returned += balance.drain();
        let leasing = self.in_flight.is_some_and(|message| !message.exact);
        (self.returned > 0 || self.maybe_granted || leasing)
            .then(|| self.request(balance, now, 0, 0))
    }

    /// See [`Holder::unspend`].
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns whether the holder remembers that requests are refused, or that other holders have
    /// all tokens that may be out on lease.
    pub(crate) fn remembers_refusal(&self, settings: &Settings, now: u64) -> bool {
        self.asks_exactly(settings, now) || self.refusal.restricts(now)
    }

    /// Returns the threshold below which a take has to be reported to [`Holder::on_spent`].
    pub(crate) fn renew_below(&self) -> u32 {
        self.renew_below
    }
}

/// Accessors for the checks of the simulation.
#[cfg(test)]
impl Holder {
    pub(in crate::redis::lease) fn id(&self) -> u64 {
        self.id
    }

    pub(in crate::redis::lease) fn awaits(&self, seq: u64) -> bool {
        self.in_flight
            .is_some_and(|message| message.seq == seq && !message.exact)
    }

    pub(in crate::redis::lease) fn awaits_any(&self) -> bool {
        self.in_flight.is_some_and(|message| !message.exact)
    }
}
